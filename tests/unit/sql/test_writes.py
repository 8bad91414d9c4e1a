"""INSERT, UPDATE, DELETE and schema changes: constraints, conflicts, index maintenance."""

from __future__ import annotations

import pytest

from engine import errors
from engine.session import Session
from tests.unit.sql.sessions import memory_session, rows, second_session


@pytest.fixture
def session() -> Session:
    made = memory_session()
    made.execute(
        "create table t (id integer primary key, a integer unique, b text not null default 'x',"
        " c numeric(8, 2), constraint small check (a < 1000))"
    )
    return made


def check_indexes(session: Session) -> None:
    """Every index has exactly the entries that its table's rows call for."""
    from engine.sql.executor.write import index_entries

    snapshot = session.store.snapshot()
    for table in session.transactions.catalog.tables.values():
        found = list(snapshot.scan(table.table_id))
        for index in index_entries(table):
            wanted = sorted(index.entry(key, row) for key, row in found)
            assert [key for key, _ in snapshot.scan(index.index_id)] == wanted
    snapshot.close()


def test_constraints_are_named(session: Session) -> None:
    session.execute("insert into t values (1, 10, 'one', 1.5)")
    with pytest.raises(errors.UniqueViolation) as unique:
        session.execute("insert into t values (2, 10, 'two', 1)")
    assert unique.value.table == "t" and unique.value.columns == ("a",)
    assert unique.value.detail == "Key (a)=(10) already exists."
    with pytest.raises(errors.NotNullViolation) as null:
        session.execute("insert into t values (2, 11, null, 1)")
    assert null.value.sqlstate == "23502" and null.value.columns == ("b",)
    with pytest.raises(errors.CheckViolation) as check:
        session.execute("insert into t values (2, 1000, 'two', 1)")
    assert check.value.constraint == "small"
    session.execute("insert into t (id, a) values (3, null), (4, null)")  # NULLs do not collide
    assert rows(session, "select count(*) from t") == [(3,)]
    check_indexes(session)


def test_conflict_clauses(session: Session) -> None:
    session.execute("insert into t (id, a) values (1, 10), (2, 20)")
    skipped = session.execute("insert or ignore into t (id, a) values (1, 99), (3, 20), (4, 40)")
    assert skipped.rowcount == 1
    replaced = session.execute(
        "insert or replace into t (id, a) values (1, 20), (5, 50), (5, 51) returning id, a"
    )
    assert list(replaced.rows) == [(1, 20), (5, 50), (5, 51)]
    assert rows(session, "select id, a from t order by id") == [(1, 20), (4, 40), (5, 51)]
    check_indexes(session)


def test_update_of_keys_is_judged_at_the_end(session: Session) -> None:
    session.execute("insert into t (id, a) values (1, 1), (2, 2), (3, 3)")
    assert session.execute("update t set id = id + 1, a = 4 - a").rowcount == 3
    assert rows(session, "select id, a from t order by id") == [(2, 3), (3, 2), (4, 1)]
    check_indexes(session)
    with pytest.raises(errors.UniqueViolation):
        session.execute("update t set id = 9")
    assert rows(session, "select id from t order by id") == [(2,), (3,), (4,)]
    check_indexes(session)


def test_specialised_writes_keep_indexes(session: Session) -> None:
    session.execute("create index t_b on t (b, c)")
    for number in range(6):
        session.execute("insert into t values (?, ?, ?, ?)", (number, number, "v", 2))
    for number in range(6):
        session.execute("update t set b = ?, c = c + 1 where id = ?", (f"w{number}", number))
    for number in range(4):
        assert session.execute("delete from t where id = ?", (number,)).rowcount == 1
    assert session.execute("delete from t where id = ?", (77,)).rowcount == 0
    for _ in range(3):
        with pytest.raises(errors.UniqueViolation) as caught:
            session.execute("insert into t values (?, ?, ?, ?)", (50, 5, "v", 2))
        assert caught.value.constraint != "" and caught.value.columns == ("a",)
        with pytest.raises(errors.NotNullViolation):
            session.execute("update t set b = ? where id = ?", (None, 5))
    assert rows(session, "select id, b, c from t where b > 'w'") == rows(
        session, "select id, b, c from t order by b"
    )
    check_indexes(session)


def test_composite_and_hidden_keys() -> None:
    session = memory_session()
    session.execute("create table p (a text, b integer, v integer, primary key (a, b))")
    session.execute("create table h (v integer)")
    for number in range(5):
        session.execute("insert into p values (?, ?, ?)", ("k", number, number))
        session.execute("insert into h values (?)", (number,))
    for number in range(5):
        assert rows(session, "select v from p where a = ? and b = ?", "k", number) == [(number,)]
    assert session.execute("update p set v = 9 where b = 3 and a = 'k'").rowcount == 1
    assert rows(session, "select b from p where a = 'k' and b >= 2 and b < 4") == [(2,), (3,)]
    assert session.execute("delete from h where v < 2").rowcount == 2
    assert session.execute("insert into h select v + 10 from h").rowcount == 3
    assert rows(session, "select count(*), sum(v) from h") == [(6, 48)]


def test_returning(session: Session) -> None:
    made = session.execute("insert into t (id, a) values (1, 5) returning id + a, b")
    assert list(made.rows) == [(6, "x")]
    changed = session.execute("update t set a = a * 2 returning a")
    assert list(changed.rows) == [(10,)]
    gone = session.execute("delete from t returning *")
    assert list(gone.rows) == [(1, 10, "x", None)]


def test_read_committed_checks_the_newest_row_again(session: Session) -> None:
    session.execute("insert into t (id, a) values (1, 1), (2, 2)")
    other = second_session(session)
    session.execute("begin isolation level read committed")
    assert rows(session, "select count(*) from t") == [(2,)]
    other.execute("update t set a = 100 where id = 1")
    assert session.execute("update t set b = 'seen' where a < 50").rowcount == 1
    session.execute("commit")
    assert rows(session, "select id, b from t order by id") == [(1, "x"), (2, "seen")]


def test_repeatable_read_conflict(session: Session) -> None:
    session.execute("insert into t (id, a) values (1, 1)")
    other = second_session(session)
    session.execute("begin")
    assert rows(session, "select a from t") == [(1,)]
    other.execute("update t set a = 2 where id = 1")
    with pytest.raises(errors.SerializationFailure):
        session.execute("update t set b = 'mine' where id = 1")
    assert session.execute("commit").tag == "ROLLBACK"


# ── schema changes ───────────────────────────────────────────────────────────────────────────
def test_ddl_is_transactional(session: Session) -> None:
    session.execute("begin")
    session.execute("create table u as select 1 as one, 'x' as two")
    session.execute("create unique index u_one on u (one)")
    session.execute("insert into u values (2, 'y')")
    assert rows(session, "select two from u where one = 2") == [("y",)]
    session.execute("rollback")
    with pytest.raises(errors.ProgrammingError) as caught:
        session.execute("select * from u")
    assert caught.value.sqlstate == "42P01"
    assert "u" not in session.transactions.catalog.tables


def test_index_over_existing_rows(session: Session) -> None:
    session.execute_many(
        "insert into t (id, a, b) values (?, ?, ?)", [(n, n, f"w{n % 3}") for n in range(50)]
    )
    session.execute("create index t_b on t (b desc, a)")
    check_indexes(session)
    plan = rows(session, "explain select a from t where b = 'w1' and a > 10")
    assert "IndexScan" in "".join(line for (line,) in plan)
    wanted = [(n,) for n in range(50) if n % 3 == 1 and n > 10]
    assert rows(session, "select a from t where b = 'w1' and a > 10") == wanted
    with pytest.raises(errors.UniqueViolation) as caught:
        session.execute("create unique index t_bb on t (b)")
    assert caught.value.detail is not None and "is duplicated" in caught.value.detail
    session.execute("drop index t_b")
    assert "t_b" not in session.transactions.catalog.indexes


def test_drop_and_views(session: Session) -> None:
    session.execute("create view v as select id, a from t where a > 1")
    session.execute("insert into t (id, a) values (1, 1), (2, 2)")
    assert rows(session, "select * from v") == [(2, 2)]
    session.execute("create or replace view v as select id from t")
    assert rows(session, "select * from v order by id") == [(1,), (2,)]
    session.execute("drop view v")
    session.execute("drop table t")
    session.execute("drop table if exists t")
    with pytest.raises(errors.ProgrammingError):
        session.execute("drop table t")


def test_ignored_duplicate_leaves_the_other_rows_entries() -> None:
    """INSERT OR IGNORE of a key that exists wrote its index entries first and took them back when
    the key clashed. Where the indexed values were the same the entries were the other row's: it
    vanished from every look-up by the index."""
    session = memory_session()
    session.execute("create table t (id integer primary key, a integer, u integer unique)")
    session.execute("create index t_a on t (a)")
    session.execute("insert into t values (1, 5, null), (2, 5, 7)")
    for insert in (
        "insert or ignore into t values (1, 5, null)",
        "insert or ignore into t values (2, 5, 7)",
        "insert into t values (1, 5, null), (2, 5, 8) on conflict do nothing",
    ):
        assert session.execute(insert).rowcount == 0
        check_indexes(session)
        assert rows(session, "select id from t where a = 5 order by id") == [(1,), (2,)]
    assert session.execute("insert or ignore into t values (1, 5, 7), (3, 5, 8)").rowcount == 1
    check_indexes(session)


@pytest.mark.parametrize(
    "made",
    [
        ("create table n (a integer)", "insert into n values (1)", "drop table n"),
        ("create index t_b on t (b)", "insert into t (id) values (1)", "drop index t_b"),
        ("insert into t (id) values (1)", "create index t_b on t (b)", "drop table t"),
        ("create table n as select 1 as a", "drop table n"),
    ],
    ids=["table", "index", "index with its table", "filled table"],
)
def test_what_one_transaction_makes_and_drops_can_be_committed(
    session: Session, made: tuple[str, ...]
) -> None:
    """COMMIT handed the store the rows of trees that never came to exist, and all was lost to
    XX000 'tree 17 does not exist'."""
    session.execute("create table other (a integer)")
    session.execute("begin")
    for statement in made:
        session.execute(statement)
    session.execute("insert into other values (7)")
    session.execute("commit")
    assert rows(session, "select a from other") == [(7,)]
    check_indexes(session)


def test_cascade_drops_the_views_that_read_what_goes(session: Session) -> None:
    """CASCADE let the table go and left its views behind, which failed from then on with
    'table "t" does not exist' and could not be made again under their names."""
    session.execute("create view one as select id from t")
    session.execute("create view two as select id from one")
    with pytest.raises(errors.ProgrammingError) as caught:
        session.execute("drop table t")
    assert caught.value.sqlstate == "2BP01"
    session.execute("drop view one cascade")
    assert not session.transactions.catalog.views
    session.execute("create view one as select id from t")
    session.execute("create view two as select id from one")
    session.execute("drop table t cascade")
    assert not session.transactions.catalog.views
    session.execute("create table one (a integer)")


def test_equal_numbers_of_different_scale_in_a_list_find_a_row_once(session: Session) -> None:
    """IN (3.0, 3.00) by an index read the range of the number 3 twice and gave each row twice."""
    session.execute("create index t_c on t (c)")
    session.execute("insert into t values (1, 1, 'x', 3), (2, 2, 'x', 4)")
    found = rows(session, "select id from t where c in (3.0, cast(3.00 as numeric(8, 2)), 3)")
    assert found == [(1,)]
    session.execute("create table free (n numeric)")
    session.execute("create index free_n on free (n)")
    session.execute("insert into free values (3.0), (3.00), (4)")
    assert len(rows(session, "select n from free where n in (3, 3.000, 3.0)")) == 2
