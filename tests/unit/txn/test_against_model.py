"""Random transactions over a memory store against a model that keeps whole dictionaries.

One thread: a request that would wait does not (lock_timeout 0), and the model says when that is.
"""

from __future__ import annotations

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from engine.errors import Error, LockTimeout, SerializationFailure, UniqueViolation
from engine.storage.memory_store import MemoryStore
from engine.storage.store import TREE_DIRECTORY, encode_tree_spec
from engine.txn.manager import TransactionManager
from engine.txn.transaction import Transaction
from tests.unit.txn.conftest import SPEC_T, T, load_catalog

KEYS = st.integers(0, 4)
TEXTS = st.text("ab", max_size=2)
LEVELS = ("read committed", "repeatable read", "serializable")
Rows = dict[int, str]


class Model:
    """One transaction. own: key → text or None. mine: own as of the statement's start."""

    def __init__(self, txn: Transaction, level: str, committed: Rows, ts: int) -> None:
        self.txn = txn
        self.level = level
        self.snapshot = dict(committed)
        self.ts = ts
        self.own: dict[int, str | None] = {}
        self.mine: dict[int, str | None] = {}
        self.locks: set[int] = set()
        self.marks: list[tuple[dict[int, str | None], set[int]]] = []
        self.read: set[int] = set()

    def visible(self) -> Rows:
        merged = {**self.snapshot, **self.mine}
        return {key: text for key, text in merged.items() if text is not None}


class Transactions(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.store = MemoryStore()
        self.store.commit({TREE_DIRECTORY: {T: encode_tree_spec(SPEC_T)}})
        self.manager = TransactionManager(self.store, load_catalog, lock_timeout_s=0.0)
        self.committed: Rows = {}
        self.changed: dict[int, int] = {}  # key → ts of its last commit
        self.ts = 0
        self.models: list[Model] = []

    def pick(self, data: st.DataObject) -> Model:
        return data.draw(st.sampled_from(self.models))

    def holder(self, key: int) -> Model | None:
        return next((m for m in self.models if key in m.locks), None)

    # ── transactions ─────────────────────────────────────────────────────────────────────────
    @precondition(lambda self: len(self.models) < 3)
    @rule(level=st.sampled_from(LEVELS))
    def begin(self, level: str) -> None:
        txn = self.manager.begin(level)
        txn.begin_statement()
        self.models.append(Model(txn, level, self.committed, self.ts))

    @precondition(lambda self: self.models)
    @rule(data=st.data())
    def next_statement(self, data: st.DataObject) -> None:
        model = self.pick(data)
        model.txn.begin_statement()
        model.mine = dict(model.own)
        if model.level == "read committed":
            model.snapshot, model.ts = dict(self.committed), self.ts

    @precondition(lambda self: self.models)
    @rule(data=st.data())
    def commit(self, data: st.DataObject) -> None:
        model = self.pick(data)
        self.models.remove(model)
        stale = any(self.changed.get(key, 0) > model.ts for key in model.read)
        if model.level == "serializable" and model.own and stale:
            self.fails(model.txn.commit, SerializationFailure)
            return
        model.txn.commit()
        if model.own:
            self.publish(model.own)

    @precondition(lambda self: self.models)
    @rule(data=st.data())
    def rollback(self, data: st.DataObject) -> None:
        model = self.pick(data)
        self.models.remove(model)
        model.txn.rollback()

    def publish(self, writes: dict[int, str | None]) -> None:
        self.ts += 1
        for key, text in writes.items():
            self.changed[key] = self.ts
            if text is None:
                self.committed.pop(key, None)
            else:
                self.committed[key] = text

    # ── reads ────────────────────────────────────────────────────────────────────────────────
    @precondition(lambda self: self.models)
    @rule(data=st.data(), lo=st.none() | KEYS, hi=st.none() | KEYS, reverse=st.booleans())
    def scan(self, data: st.DataObject, lo: int | None, hi: int | None, reverse: bool) -> None:
        model = self.pick(data)
        inside = [k for k in range(5) if (lo is None or k >= lo) and (hi is None or k < hi)]
        model.read.update(inside)
        rows = sorted((k, v) for k, v in model.visible().items() if k in inside)
        expected = [(k, (k, v)) for k, v in (reversed(rows) if reverse else rows)]
        assert list(model.txn.scan(T, lo, hi, reverse=reverse)) == expected
        projected = [(k, (v,)) for k, (_, v) in expected]
        assert list(model.txn.scan(T, lo, hi, reverse=reverse, columns=(1,))) == projected

    @precondition(lambda self: self.models)
    @rule(data=st.data(), key=KEYS)
    def get(self, data: st.DataObject, key: int) -> None:
        model = self.pick(data)
        model.read.add(key)
        text = model.visible().get(key)
        assert model.txn.get(T, key) == (None if text is None else (key, text))

    @precondition(lambda self: self.models)
    @rule(data=st.data())
    def count(self, data: st.DataObject) -> None:
        model = self.pick(data)
        model.read.update(range(5))
        assert model.txn.count(T) == len(model.visible())

    # ── writes ───────────────────────────────────────────────────────────────────────────────
    def expected_error(self, model: Model, key: int) -> type[Error] | None:
        """What locking the row for an update gives; takes the lock in the model."""
        if key in model.locks:
            return None
        if self.holder(key) is not None:
            return LockTimeout
        model.locks.add(key)
        changed = self.changed.get(key, 0) > model.ts
        return SerializationFailure if changed and model.level != "read committed" else None

    def newest(self, model: Model, key: int) -> str | None:
        return model.own[key] if key in model.own else self.committed.get(key)

    def fails(self, action: Any, error: type[Error]) -> None:
        try:
            action()
        except error:
            return
        raise AssertionError(f"{error.__name__} was expected")

    def attempt(self, model: Model, error: type[Error] | None, action: Any) -> bool:
        """Do it; after an expected failure, undo the statement as a session would."""
        if error is None:
            action()
            return True
        self.fails(action, error)
        model.txn.abort_statement()
        if model.marks:
            own, locks = model.marks[-1]
            model.own, model.locks = dict(own), set(locks)
            model.mine = dict(own)
            model.txn.rollback_to("s")
            model.txn.begin_statement()
            if model.level == "read committed":
                model.snapshot, model.ts = dict(self.committed), self.ts
        else:
            self.models.remove(model)
            model.txn.rollback()
        return False

    @precondition(lambda self: self.models)
    @rule(data=st.data(), key=KEYS, text=st.none() | TEXTS)
    def put_or_delete(self, data: st.DataObject, key: int, text: str | None) -> None:
        model = self.pick(data)
        model.read.add(key)
        error = self.expected_error(model, key)
        if text is None:
            done = self.attempt(model, error, lambda: model.txn.delete(T, key))
        else:
            done = self.attempt(model, error, lambda: model.txn.put(T, key, (key, text)))
        if done:
            model.own[key] = text

    @precondition(lambda self: self.models)
    @rule(data=st.data(), key=KEYS)
    def lock_for_update(self, data: st.DataObject, key: int) -> None:
        model = self.pick(data)
        model.read.add(key)
        found: list[Any] = []
        error = self.expected_error(model, key)
        if self.attempt(model, error, lambda: found.append(model.txn.lock_for_update(T, key))):
            text = self.newest(model, key)
            assert found == [None if text is None else (key, text)]

    @precondition(lambda self: self.models)
    @rule(data=st.data(), keys=st.sets(KEYS, min_size=1, max_size=3), text=TEXTS)
    def insert(self, data: st.DataObject, keys: set[int], text: str) -> None:
        model = self.pick(data)
        model.read.update(keys)
        rows = {key: (key, text) for key in keys}
        errors: list[type[Error]] = []
        if any(self.holder(key) not in (None, model) for key in keys):
            errors.append(LockTimeout)
        elif any(self.newest(model, key) is not None for key in keys):
            errors.append(UniqueViolation)
        elif model.level != "read committed" and any(
            key not in model.own and key in model.snapshot for key in keys
        ):
            errors.append(SerializationFailure)
        if len(keys) == 1:
            key = next(iter(keys))
            action: Any = lambda: model.txn.insert(T, key, rows[key])  # noqa: E731
        else:
            action = lambda: model.txn.insert_many(T, rows)  # noqa: E731
        if errors and len(keys) > 1:
            # Which row fails first decides the error; that it fails is what counts.
            errors = [Error]
        if not errors:
            model.locks |= keys
        if self.attempt(model, errors[0] if errors else None, action):
            model.own.update(dict.fromkeys(keys, text))

    @rule(key=KEYS, text=TEXTS)
    def one_shot_insert(self, key: int, text: str) -> None:
        def insert() -> int | None:
            return self.manager.write_one(T, key, {T: {key: (key, text)}}, self.manager.catalog)

        if self.holder(key) is not None:
            assert insert() is None
        elif key in self.committed:
            self.fails(insert, UniqueViolation)
        else:
            assert insert()
            self.publish({key: text})

    @rule(key=KEYS, text=st.none() | TEXTS)
    def one_shot_change(self, key: int, text: str | None) -> None:
        def change(row: Any, value: str | None) -> Any:
            return {T: {key: None if value is None else (key, row[1] + value)}}

        done = self.manager.modify_one(T, key, change, text, self.manager.catalog)
        if self.holder(key) is not None:
            assert done is None
        elif key not in self.committed:
            assert done == 0
        else:
            assert done
            self.publish({key: None if text is None else self.committed[key] + text})

    # ── savepoints ───────────────────────────────────────────────────────────────────────────
    @precondition(lambda self: self.models)
    @rule(data=st.data())
    def savepoint(self, data: st.DataObject) -> None:
        model = self.pick(data)
        model.txn.savepoint("s")
        model.mine = dict(model.own)
        model.marks.append((dict(model.own), set(model.locks)))

    @precondition(lambda self: any(model.marks for model in self.models))
    @rule(data=st.data(), release=st.booleans())
    def end_savepoint(self, data: st.DataObject, release: bool) -> None:
        model = data.draw(st.sampled_from([m for m in self.models if m.marks]))
        if release:
            model.txn.release("s")
            model.marks.pop()
        else:
            model.txn.rollback_to("s")
            own, locks = model.marks[-1]
            model.own, model.locks = dict(own), set(locks)
        model.mine = dict(model.own)

    @rule()
    def checkpoint(self) -> None:
        self.store.checkpoint()

    @invariant()
    def locks_are_the_models(self) -> None:
        held = {(lock.key, lock.txn_id) for lock in self.manager.locks() if lock.kind == "row"}
        assert held == {(key, m.txn.txn_id) for m in self.models for key in m.locks}

    @invariant()
    def every_read_is_the_models(self) -> None:
        for model in self.models:
            if model.level == "serializable":
                continue  # a read would be recorded
            rows = {key: (key, text) for key, text in model.visible().items()}
            assert list(model.txn.scan(T)) == sorted(rows.items())
            assert list(model.txn.scan(T, 1, 4, reverse=True)) == [
                (key, rows[key]) for key in (3, 2, 1) if key in rows
            ]
            assert model.txn.get_many(T, range(5)) == [rows.get(key) for key in range(5)]
            assert model.txn.count(T) == len(rows)

    @invariant()
    def store_has_what_was_committed(self) -> None:
        snapshot = self.store.snapshot()
        assert dict(snapshot.scan(T)) == {k: (k, v) for k, v in self.committed.items()}
        assert snapshot.count(T) == len(self.committed)
        snapshot.close()

    def teardown(self) -> None:
        for model in self.models:
            model.txn.rollback()
        assert self.manager.locks() == []
        assert self.store.open_snapshot_count() == 0
        self.store.close()


TestTransactions = Transactions.TestCase
TestTransactions.settings = settings(max_examples=80, stateful_step_count=40, deadline=None)
