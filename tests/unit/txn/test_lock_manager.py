"""Locks between threads. Whether somebody waits is read from the lock manager, never from time."""

from __future__ import annotations

import itertools
import threading

import pytest

from engine.errors import (
    DeadlockDetected,
    InterfaceError,
    LockTimeout,
    QueryCanceled,
    SerializationFailure,
    UniqueViolation,
)
from engine.txn.lock_manager import CONFLICTS, MODES, LockManager, Owner, combined_mode
from engine.txn.manager import TransactionManager
from engine.txn.transaction import Transaction
from tests.isolation.actors import BLOCKED, Actors
from tests.unit.txn.conftest import T, U, load_catalog


def begin(manager: TransactionManager, isolation: str | None = None) -> Transaction:
    txn = manager.begin(isolation)
    txn.begin_statement()
    return txn


# ── rows ─────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("first", ["put", "delete", "lock_for_update"])
@pytest.mark.parametrize("second", ["put", "delete", "lock_for_update"])
@pytest.mark.parametrize("isolation", ["read committed", "repeatable read", "serializable"])
@pytest.mark.parametrize("end", ["commit", "rollback"])
def test_first_updater_wins(
    manager: TransactionManager, actors: Actors, first: str, second: str, isolation: str, end: str
) -> None:
    def act(txn: Transaction, action: str) -> object:
        args = (T, 1, (1, action)) if action == "put" else (T, 1)
        return getattr(txn, action)(*args)

    holder, waiter = begin(manager), begin(manager, isolation)
    act(holder, first)
    assert actors["w"].call(act, waiter, second) is BLOCKED
    assert manager.waits() == {waiter.txn_id: [holder.txn_id]}
    getattr(holder, end)()
    outcome = actors["w"].next_event()
    changed = end == "commit" and first != "lock_for_update"
    if changed and isolation != "read committed":
        assert isinstance(outcome, SerializationFailure)
    elif second == "lock_for_update":
        newest = {"put": (1, "put"), "delete": None, "lock_for_update": (1, "one")}[first]
        assert outcome == (newest if changed else (1, "one"))
    else:
        assert outcome is None
    waiter.rollback()
    assert manager.locks() == []


@pytest.mark.parametrize("isolation", ["read committed", "repeatable read", "serializable"])
@pytest.mark.parametrize("tree_id", [T, U])
def test_insert_waits_for_an_equal_key(
    manager: TransactionManager, actors: Actors, isolation: str, tree_id: int
) -> None:
    def insert(txn: Transaction, key: int) -> None:
        if tree_id == T:
            txn.insert(T, 9, (9, "nine"))
        else:
            txn.insert_unique(U, b"a\0", b"a\xff", b"a\0" + bytes([key]))

    holder, waiter = begin(manager), begin(manager, isolation)
    insert(holder, 1)
    assert actors["w"].call(insert, waiter, 2) is BLOCKED
    holder.commit()
    assert isinstance(actors["w"].next_event(), UniqueViolation)
    waiter.rollback()

    holder, waiter = begin(manager), begin(manager, isolation)
    for txn in (holder,):
        txn.delete(T, 9) if tree_id == T else txn.write_covered(U, b"a\0\1", None)
    insert(holder, 1)
    assert actors["w"].call(insert, waiter, 2) is BLOCKED
    holder.rollback()
    assert isinstance(actors["w"].next_event(), UniqueViolation)  # the committed row is back
    waiter.rollback()


def test_insert_goes_on_when_the_holder_of_the_key_aborts(
    manager: TransactionManager, actors: Actors
) -> None:
    holder, waiter, bulk = begin(manager), begin(manager), begin(manager)
    holder.insert(T, 9, (9, "theirs"))
    assert actors["w"].call(waiter.insert, T, 9, (9, "mine")) is BLOCKED
    assert actors["b"].call(bulk.insert_many, T, {8: (8, "b"), 9: (9, "b")}) is BLOCKED
    holder.rollback()
    assert actors["w"].next_event() is None
    waiter.commit()
    assert isinstance(actors["b"].next_event(), UniqueViolation)
    bulk.rollback()
    assert begin(manager).get_many(T, [8, 9]) == [None, (9, "mine")]


def test_waiters_are_served_first_in_first_out(manager: TransactionManager, actors: Actors) -> None:
    holder = begin(manager, "read committed")
    holder.lock_for_update(T, 1)
    waiters = [begin(manager, "read committed") for _ in range(4)]
    for txn in waiters:
        assert actors[str(txn.txn_id)].call(txn.lock_for_update, T, 1) is BLOCKED
    order = [holder, *waiters]
    for before, after in itertools.pairwise(order):
        before.commit()
        assert actors[str(after.txn_id)].next_event() == (1, "one")
        assert after.txn_id not in manager.waits()
    order[-1].commit()
    assert manager.locks() == []


def test_a_lock_with_waiters_is_handed_over_not_freed(
    manager: TransactionManager, actors: Actors
) -> None:
    """A newcomer between release and wake-up must not overtake the queue."""
    holder, waiter, late = (begin(manager) for _ in range(3))
    holder.lock_for_update(T, 1)
    assert actors["w"].call(waiter.lock_for_update, T, 1) is BLOCKED
    manager.lock_manager.release_rows(holder, T, [1])
    assert manager.lock_manager.rows[T][1] is waiter
    assert actors["w"].next_event() == (1, "one")
    assert actors["l"].call(late.lock_for_update, T, 1) is BLOCKED
    waiter.rollback()
    assert actors["l"].next_event() == (1, "one")
    late.rollback()


def test_rollback_to_savepoint_lets_waiters_go_on(
    manager: TransactionManager, actors: Actors
) -> None:
    holder, waiter = begin(manager), begin(manager)
    holder.savepoint("s")
    holder.put(T, 1, (1, "a"))
    assert actors["w"].call(waiter.lock_for_update, T, 1) is BLOCKED
    holder.rollback_to("s")
    assert actors["w"].next_event() == (1, "one")


def test_a_failed_statement_lets_waiters_go_on(manager: TransactionManager, actors: Actors) -> None:
    holder, waiter = begin(manager), begin(manager)
    holder.put(T, 1, (1, "a"))
    assert actors["w"].call(waiter.lock_for_update, T, 1) is BLOCKED
    holder.abort_statement()
    assert actors["w"].next_event() == (1, "one")


# ── deadlock ─────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("size", [2, 3, 5])
def test_the_edge_that_closes_a_cycle_finds_it(
    manager: TransactionManager, actors: Actors, size: int
) -> None:
    txns = [begin(manager) for _ in range(size)]
    for i, txn in enumerate(txns):
        txn.insert(T, 10 + i, (10 + i, "x"))
    for i, txn in enumerate(txns[:-1]):
        assert actors[str(i)].call(txn.lock_for_update, T, 11 + i) is BLOCKED
    outcome = actors["last"].call(txns[-1].lock_for_update, T, 10)
    assert isinstance(outcome, DeadlockDetected)
    assert outcome.is_retryable
    txns[-1].abort_statement()
    for i in reversed(range(size - 1)):
        assert actors[str(i)].next_event() is None  # the row that is waited for was never committed
        txns[i].rollback()
    assert manager.locks()[0:] == []


@pytest.mark.parametrize(("policy", "victim"), [("youngest", 1), ("least_work", 0)])
def test_victim_policies(store, policy: str, victim: int) -> None:  # type: ignore[no-untyped-def]
    manager = TransactionManager(store, load_catalog, victim_policy=policy)
    with Actors(manager.lock_manager) as actors:
        txns = [begin(manager), begin(manager)]
        txns[0].put(T, 1, (1, "a"))
        txns[1].put(T, 2, (2, "b"))
        txns[1].put(T, 3, (3, "b"))
        assert actors["0"].call(txns[0].lock_for_update, T, 2) is BLOCKED
        second = actors["1"].call(txns[1].lock_for_update, T, 1)
        if victim == 1:
            assert isinstance(second, DeadlockDetected)
        else:
            assert second is BLOCKED
            assert isinstance(actors["0"].next_event(), DeadlockDetected)
        txns[victim].abort_statement()
        assert not isinstance(actors[str(1 - victim)].next_event(), Exception)


def test_unknown_victim_policy_is_refused() -> None:
    with pytest.raises(ValueError, match="victim_policy"):
        LockManager("eldest")


def test_readers_and_one_shots_never_wait(manager: TransactionManager, actors: Actors) -> None:
    holder = begin(manager)
    holder.put(T, 1, (1, "a"))
    reader = begin(manager)
    assert actors["r"].call(reader.get, T, 1) == (1, "one")
    assert len(actors["r"].call(lambda: list(reader.scan(T)))) == 3
    declined = actors["o"].call(
        manager.modify_one, T, 1, lambda row, _: {T: {1: None}}, None, manager.catalog
    )
    assert declined is None


# ── ends of a wait ───────────────────────────────────────────────────────────────────────────
def test_lock_timeout(manager: TransactionManager, actors: Actors) -> None:
    holder, waiter = begin(manager), begin(manager)
    holder.put(T, 1, (1, "a"))
    waiter.lock_timeout_s = 0.0
    assert actors["w"].call(waiter.lock_for_update, T, 1) is BLOCKED
    assert isinstance(actors["w"].next_event(), LockTimeout)
    assert manager.waits() == {}
    holder.rollback()
    assert waiter.lock_for_update(T, 1) == (1, "one")


def test_timeout_of_the_first_lets_compatible_table_requests_behind_it_in(
    manager: TransactionManager, actors: Actors
) -> None:
    holder, strong, weak = (begin(manager) for _ in range(3))
    holder.lock_table(T, "IX")
    assert actors["s"].call(strong.lock_table, T, "X") is BLOCKED
    assert actors["w"].call(weak.lock_table, T, "IX") is BLOCKED
    assert strong.cancel()
    assert isinstance(actors["s"].next_event(), QueryCanceled)
    assert actors["w"].next_event() is None
    for txn in (holder, strong, weak):
        txn.rollback()
    assert manager.locks() == []
    assert manager.lock_manager.strong == {}


def test_cancel(manager: TransactionManager, actors: Actors) -> None:
    holder, waiter = begin(manager), begin(manager)
    assert not waiter.cancel()
    holder.put(T, 1, (1, "a"))
    assert actors["w"].call(waiter.lock_for_update, T, 1) is BLOCKED
    assert waiter.cancel()
    assert isinstance(actors["w"].next_event(), QueryCanceled)
    assert not waiter.cancel()
    waiter.rollback()
    assert {lock.txn_id for lock in manager.locks()} == {holder.txn_id}


def test_close_ends_every_wait(manager: TransactionManager, actors: Actors) -> None:
    holder, one, two = (begin(manager) for _ in range(3))
    holder.put(T, 1, (1, "a"))
    assert actors["1"].call(one.lock_for_update, T, 1) is BLOCKED
    assert actors["2"].call(two.lock_table, T, "X") is BLOCKED
    manager.close()
    assert isinstance(actors["1"].next_event(), InterfaceError)
    assert isinstance(actors["2"].next_event(), InterfaceError)
    with pytest.raises(InterfaceError):
        two.lock_for_update(T, 1)


def test_interrupt_in_a_wait_leaves_no_request_behind(manager: TransactionManager) -> None:
    """KeyboardInterrupt can come out of the wait itself (only in the main thread)."""
    holder, waiter = begin(manager), begin(manager)
    holder.put(T, 1, (1, "a"))

    def interrupt(_: object) -> None:
        import _thread

        _thread.interrupt_main()

    manager.lock_manager.on_block = interrupt
    with pytest.raises(KeyboardInterrupt):
        waiter.lock_for_update(T, 1)
    assert manager.waits() == {}
    holder.rollback()
    assert {lock.kind for lock in manager.locks()} == {"table"}


# ── tables ───────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("held", MODES)
@pytest.mark.parametrize("wanted", MODES)
def test_table_modes(manager: TransactionManager, actors: Actors, held: str, wanted: str) -> None:
    holder, other = begin(manager), begin(manager)
    holder.lock_table(T, held)
    outcome = actors["o"].call(other.lock_table, T, wanted)
    if held in CONFLICTS[wanted]:
        assert outcome is BLOCKED
        assert manager.waits() == {other.txn_id: [holder.txn_id]}
        holder.rollback()
        assert actors["o"].next_event() is None
    else:
        assert outcome is None
        holder.rollback()
    assert other.tables == {T: wanted}
    other.rollback()
    assert manager.lock_manager.strong == {}
    assert manager.lock_manager.waiting == {}


def test_conflicts_are_symmetric() -> None:
    for a, b in itertools.product(MODES, MODES):
        assert (a in CONFLICTS[b]) == (b in CONFLICTS[a])


def test_combined_modes_conflict_with_what_either_conflicts_with() -> None:
    for a, b in itertools.product(MODES, MODES):
        assert CONFLICTS[combined_mode(a, b)] >= CONFLICTS[a] | CONFLICTS[b]


def test_upgrade_goes_ahead_of_the_queue(manager: TransactionManager, actors: Actors) -> None:
    holder, other, stranger = (begin(manager) for _ in range(3))
    holder.lock_table(T, "IX")
    other.lock_table(T, "IX")
    assert actors["s"].call(stranger.lock_table, T, "X") is BLOCKED
    assert actors["h"].call(holder.lock_table, T, "X") is BLOCKED
    other.rollback()
    assert actors["h"].next_event() is None
    assert stranger.txn_id in manager.waits()
    holder.rollback()
    assert actors["s"].next_event() is None


def test_two_upgrades_are_a_deadlock(manager: TransactionManager, actors: Actors) -> None:
    one, two = begin(manager), begin(manager)
    one.lock_table(T, "IX")
    two.lock_table(T, "IX")
    assert actors["1"].call(one.lock_table, T, "X") is BLOCKED
    assert isinstance(actors["2"].call(two.lock_table, T, "X"), DeadlockDetected)
    two.abort_statement()
    assert actors["1"].next_event() is None


def test_a_writer_queued_behind_a_strong_request_takes_part_in_cycles(
    manager: TransactionManager, actors: Actors
) -> None:
    """holder (IX) waits for a row of `late`; late waits behind `strong`, who waits for holder."""
    holder, strong, late = (begin(manager) for _ in range(3))
    holder.lock_table(T, "IX")
    late.insert_unique(U, b"a\0", b"a\xff", b"a\0\1")
    assert actors["s"].call(strong.lock_table, T, "X") is BLOCKED
    assert actors["l"].call(late.lock_table, T, "IX") is BLOCKED
    outcome = actors["h"].call(holder.insert_unique, U, b"a\0", b"a\xff", b"a\0\2")
    assert isinstance(outcome, DeadlockDetected)
    holder.abort_statement()
    assert actors["s"].next_event() is None
    strong.rollback()
    assert actors["l"].next_event() is None


def test_strong_table_lock_waits_for_a_one_shot_in_flight(
    manager: TransactionManager, actors: Actors
) -> None:
    ddl = begin(manager)
    seen: list[object] = []

    def change(row: tuple[int, str], _: object) -> dict[int, dict[int, tuple[int, str]]]:
        seen.append(actors["d"].call(ddl.lock_table, T, "X"))
        return {T: {1: (1, "new")}}

    manager.modify_one(T, 1, change, None, manager.catalog)
    assert seen == [BLOCKED]
    assert actors["d"].next_event() is None


# ── many threads ─────────────────────────────────────────────────────────────────────────────
def test_no_wake_up_and_no_update_is_lost(manager: TransactionManager) -> None:
    """8 threads add 1 to 3 rows in clashing orders; every committed addition is there."""
    threads, rounds = 8, 60
    committed = [0] * threads
    for key in (1, 2, 3):
        txn = begin(manager)
        txn.put(T, key, (key, "0"))
        txn.commit()

    def add(row: tuple[int, str], _: object) -> dict[int, dict[int, tuple[int, str]]]:
        return {T: {row[0]: (row[0], str(int(row[1]) + 1))}}

    def work(number: int) -> None:
        catalog = manager.catalog
        for i in range(rounds):
            order = [1, 2, 3] if (number + i) % 2 else [3, 2, 1]
            while True:
                txn = begin(manager, "read committed")
                try:
                    for key in order:
                        row = txn.lock_for_update(T, key)
                        assert row is not None
                        txn.put(T, key, (key, str(int(row[1]) + 1)))
                    txn.commit()
                    break
                except DeadlockDetected:
                    txn.rollback()
            committed[number] += 3
            if manager.modify_one(T, order[0], add, None, catalog):
                committed[number] += 1

    workers = [threading.Thread(target=work, args=(n,), daemon=True) for n in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
        assert not worker.is_alive(), "a wake-up was lost"
    rows = begin(manager).get_many(T, [1, 2, 3])
    assert sum(int(row[1]) for row in rows if row is not None) == sum(committed)
    assert [lock for lock in manager.locks() if lock.kind == "row"] == []
    assert manager.lock_manager.waiting == {}


def test_owner_has_no_work() -> None:
    assert Owner(7).work == 0
