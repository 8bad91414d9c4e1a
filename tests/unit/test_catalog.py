"""Catalog snapshots: immutable, versioned, and equal after a trip through their rows."""

from __future__ import annotations

import msgspec
import pytest

from engine.catalog import (
    EMPTY_CATALOG,
    Catalog,
    CheckConstraint,
    Column,
    Index,
    IndexColumn,
    Table,
    View,
    codec_of_index,
    encode_table,
    encode_view,
    load_catalog,
    primary_key_codec,
    tree_spec,
    tree_spec_for_index,
)
from engine.errors import DamageFound
from engine.types import INTEGER, TEXT, SqlType

INDEX = Index(17, "t_b_idx", 16, (IndexColumn(1, True),), unique=True)
TABLE = Table(
    16,
    "t",
    (
        Column(0, "a", INTEGER, True),
        Column(1, "b", TEXT, False, "'x'"),
        Column(2, "c", SqlType("numeric", 10, 2)),
    ),
    (0,),
    "t_pkey",
    (CheckConstraint("t_c_check", "c > 0"),),
    (INDEX,),
    key_column=0,
    next_column_id=3,
)
VIEW = View(18, "v", ("a",), "SELECT a FROM t")


def _shape(catalog: Catalog) -> object:
    return catalog.tables, catalog.views, catalog.next_id


def test_rows_spell_the_catalog() -> None:
    catalog = EMPTY_CATALOG.with_table(TABLE).with_view(VIEW)
    loaded = load_catalog([encode_view(VIEW), encode_table(TABLE)], 7)
    assert _shape(loaded) == _shape(catalog)
    assert loaded.version == 7
    assert loaded.next_id == 19
    assert loaded.indexes["t_b_idx"] == (TABLE, INDEX)
    assert loaded.tables_by_id[16] == TABLE


def test_changes_make_new_catalogs() -> None:
    first = EMPTY_CATALOG.with_table(TABLE)
    second = first.with_table(msgspec.structs.replace(TABLE, indexes=()))
    third = second.with_table(TABLE)
    assert EMPTY_CATALOG.tables == {}
    assert [EMPTY_CATALOG.version, first.version, second.version, third.version] == [0, 1, 2, 3]
    assert "t_b_idx" in first.indexes and "t_b_idx" not in second.indexes
    assert third.tables == first.tables
    assert third.without_table("t").indexes == {}
    assert first.with_view(VIEW).without_view("v").views == {}


def test_a_table_that_is_renamed_leaves_its_old_name() -> None:
    catalog = EMPTY_CATALOG.with_table(TABLE)
    renamed = catalog.with_table(Table(16, "u", TABLE.columns))
    assert set(renamed.tables) == {"u"}


def test_relation_kinds() -> None:
    catalog = EMPTY_CATALOG.with_table(TABLE).with_view(VIEW)
    kinds = [catalog.relation_kind(name) for name in ("t", "v", "t_b_idx", "nothing")]
    assert kinds == ["table", "view", "index", None]


def test_damage_in_a_row_is_named() -> None:
    key, (kind, name, payload) = encode_table(TABLE)
    with pytest.raises(DamageFound) as caught:
        load_catalog([(key, (kind, name, payload[:-3]))], 1)
    assert "16" in str(caught.value) and "t" in str(caught.value)


def test_trees_of_a_table() -> None:
    spec = tree_spec(TABLE)
    assert (spec.tree_id, spec.key_kind, spec.key_column) == (16, "int", 0)
    assert [column.physical for column in spec.columns] == ["int32", "utf8", "int64"]
    index = tree_spec_for_index(TABLE, INDEX)
    assert (index.tree_id, index.key_kind, index.columns) == (17, "bytes", ())
    keyed = Table(20, "k", TABLE.columns, (1, 0))
    assert tree_spec(keyed).key_kind == "bytes" and tree_spec(keyed).key_column is None
    assert tree_spec(Table(21, "h", TABLE.columns)).key_kind == "int"


def test_codecs_of_a_table() -> None:
    codec = codec_of_index(TABLE, INDEX)
    assert codec.table_key(codec.encode(("x",), 42)) == 42
    assert codec.encode(("y",), 1) < codec.encode(("x",), 1)
    keyed = Table(20, "k", TABLE.columns, (1, 0))
    primary = primary_key_codec(keyed)
    assert primary.decode(primary.encode(("x", 5))) == ("x", 5)
    assert (
        codec_of_index(keyed, INDEX).table_key(codec_of_index(keyed, INDEX).encode(("x",), b"key"))
        == b"key"
    )
