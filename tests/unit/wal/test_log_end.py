"""The end of the log: a torn tail opens, damage is refused, and never the other way round.

A vouched record is one that a later record, a later segment, or the meta page says was durable.
Cut or flip anything in a vouched record: damage. Cut or flip the unvouched last batch: torn.
"""

from __future__ import annotations

import random

import pytest
from wal_logs import BASE, UUID, append_commits, commit_payload, open_log, reopen_log, replay_all

from engine.errors import DamageFound, NewerFormat
from engine.vfs_memory import MemoryVfs
from engine.wal.reader import scan_log
from engine.wal.record import COMMIT, encode_record
from engine.wal.segment import HEADER_BLOCK_SIZE, list_segments, segment_path

SEGMENT = segment_path(BASE, 1)


def durable_log(count: int, *, vouched: bool, size: int = 20) -> tuple[MemoryVfs, list[int]]:
    """A log of `count` commits, each synced; offsets of the records, and of the end.

    vouched: a closing NOTE follows, which says that all of them were durable.
    """
    vfs = MemoryVfs()
    log = open_log(vfs)
    for number in range(1, count + 1):
        log.make_durable(log.append(COMMIT, 0, commit_payload(number, size)))
    if vouched:
        log.append_note("close")
        log.barrier()
    log.close(clean=False)
    scan = scan_log(vfs, BASE, UUID, 1)
    records = list(scan)
    return vfs, [record.offset for record in records] + [records[-1].offset + records[-1].size]


def segment_bytes(vfs: MemoryVfs, path: str = SEGMENT) -> bytearray:
    file = vfs.open(path)
    return bytearray(file.read(0, file.size()))


def with_segment(raw: bytes | bytearray, path: str = SEGMENT) -> MemoryVfs:
    vfs = MemoryVfs()
    file = vfs.open(path, create=True)
    file.write(0, raw)
    return vfs


def numbers(vfs: MemoryVfs, from_lsn: int = 1, **options: object) -> list[int]:
    return [commit[0] for commit in replay_all(vfs, from_lsn, **options)[0]]


def test_every_cut_of_the_last_records_is_judged_right() -> None:
    """Cutting away bytes of the last three records: those cut are gone; what is left says how
    far the log was durable, and only when that reaches into the cut is it damage."""
    vfs, offsets = durable_log(6, vouched=False)
    raw = segment_bytes(vfs)
    for cut in range(offsets[3], offsets[6] + 1):
        whole = sum(1 for offset in offsets[1:7] if offset <= cut)
        found, report = replay_all(with_segment(raw[:cut]))
        assert [commit[0] for commit in found] == list(range(1, whole + 1)), cut
        assert report.next_lsn == whole + 1
        assert report.end.kind == ("clean" if cut in offsets else "torn"), cut
        assert report.end.torn_size <= cut - offsets[whole]


def test_every_cut_filled_with_zeros_or_garbage() -> None:
    vfs, offsets = durable_log(6, vouched=False)
    raw = segment_bytes(vfs)[: offsets[6] + 64]
    rng = random.Random(1)
    for cut in range(offsets[4], offsets[6]):
        whole = sum(1 for offset in offsets[1:7] if offset <= cut)
        for tail in (bytes(len(raw) - cut), rng.randbytes(len(raw) - cut)):
            found, report = replay_all(with_segment(bytes(raw[:cut]) + tail))
            # a cut inside the padding or trailing zeros of a record may change no byte at all
            assert len(found) in (whole, whole + 1), cut
            if len(found) == whole + 1:
                assert (bytes(raw[:cut]) + tail)[: offsets[whole + 1]] == raw[: offsets[whole + 1]]
            assert report.next_lsn == len(found) + 1


def test_every_flipped_bit_of_a_vouched_record_is_damage() -> None:
    vfs, offsets = durable_log(4, vouched=True)
    raw = segment_bytes(vfs)
    flips = 0
    for offset in range(offsets[0], offsets[4]):
        for bit in range(8):
            raw[offset] ^= 1 << bit
            with pytest.raises(DamageFound) as caught:
                replay_all(with_segment(raw))
            lsn = next(n for n in range(1, 5) if offset < offsets[n])
            assert caught.value.first_lsn == lsn
            assert caught.value.offset == offsets[lsn - 1]
            assert caught.value.path == SEGMENT
            raw[offset] ^= 1 << bit
            flips += 1
    assert flips == 8 * (offsets[4] - offsets[0])
    assert numbers(with_segment(raw)) == [1, 2, 3, 4]


def test_every_flipped_byte_of_the_unvouched_last_record_is_torn() -> None:
    vfs, offsets = durable_log(4, vouched=False)
    raw = segment_bytes(vfs)
    for offset in range(offsets[3], offsets[4]):
        raw[offset] ^= 0xFF
        found, report = replay_all(with_segment(raw))
        assert [commit[0] for commit in found] == [1, 2, 3]
        assert report.end.kind == "torn"
        raw[offset] ^= 0xFF


def test_zeroed_sectors_of_vouched_records_are_damage() -> None:
    vfs, offsets = durable_log(40, vouched=True, size=100)
    raw = segment_bytes(vfs)
    for sector in range(HEADER_BLOCK_SIZE, offsets[40] - 512, 512):
        broken = bytearray(raw)
        broken[sector : sector + 512] = bytes(512)
        with pytest.raises(DamageFound):
            replay_all(with_segment(broken))


def test_torn_bytes_are_kept_aside() -> None:
    vfs, offsets = durable_log(3, vouched=False)
    raw = segment_bytes(vfs)
    raw[offsets[2]] ^= 1
    broken = with_segment(raw)
    found, report = replay_all(broken)
    assert len(found) == 2 and report.torn_path == f"{BASE}-wal-torn-3"
    kept = broken.open(report.torn_path, readonly=True)
    assert kept.read(0, kept.size()) == bytes(raw[offsets[2] : offsets[3]]).rstrip(b"\0")
    _, report = replay_all(with_segment(raw), keep_torn=False)
    assert report.torn_path is None


def test_stale_bytes_of_another_segment_never_verify() -> None:
    """The records of an earlier life at the same place, with the very LSNs that are due."""
    vfs, offsets = durable_log(6, vouched=False)
    other, _ = durable_log(6, vouched=False)
    raw, stale = segment_bytes(vfs), segment_bytes(other)
    raw[:HEADER_BLOCK_SIZE] = segment_bytes(vfs)[:HEADER_BLOCK_SIZE]
    log = open_log(MemoryVfs(), seed=99)  # another epoch
    append_commits(log, range(1, 7))
    stale = segment_bytes(log._vfs)  # type: ignore[arg-type]
    raw[offsets[3] : offsets[6]] = stale[offsets[3] : offsets[6]]
    found, report = replay_all(with_segment(raw))
    assert [commit[0] for commit in found] == [1, 2, 3]
    assert report.end.kind == "torn"


def three_segments() -> tuple[MemoryVfs, list[int]]:
    """Ten commits each in three segments; the first LSN of each."""
    vfs = MemoryVfs()
    log = open_log(vfs)
    firsts = []
    for part in range(3):
        firsts.append(log.written_lsn + 1)
        append_commits(log, range(10 * part + 1, 10 * part + 11))
        log.barrier()
        if part < 2:
            log.rotate()
    log.close(clean=True)
    return vfs, firsts


def test_segments_join() -> None:
    vfs, firsts = three_segments()
    assert firsts == [1, 11, 21]
    assert numbers(vfs) == list(range(1, 31))
    assert numbers(vfs, 15) == list(range(15, 31))
    assert numbers(vfs, 31) == []


def test_a_missing_middle_segment_is_damage() -> None:
    vfs, _ = three_segments()
    vfs.remove(segment_path(BASE, 2))
    with pytest.raises(DamageFound) as caught:
        replay_all(vfs)
    assert (caught.value.first_lsn, caught.value.last_lsn) == (11, 20)
    assert numbers(vfs, 21) == list(range(21, 31))  # not needed: not missed


def test_a_missing_first_segment_is_damage() -> None:
    vfs, _ = three_segments()
    vfs.remove(segment_path(BASE, 1))
    with pytest.raises(DamageFound):
        replay_all(vfs)
    assert numbers(vfs, 11) == list(range(11, 31))


def test_a_log_the_meta_needs_may_not_be_missing() -> None:
    with pytest.raises(DamageFound, match="missing"):
        replay_all(MemoryVfs(), 7, vouched_lsn=7)
    assert numbers(MemoryVfs(), 7) == []


def test_the_meta_vouches_for_the_end() -> None:
    vfs, _ = durable_log(5, vouched=False)
    assert numbers(vfs, vouched_lsn=5) == [1, 2, 3, 4, 5]
    with pytest.raises(DamageFound) as caught:
        replay_all(vfs, vouched_lsn=8)
    assert (caught.value.first_lsn, caught.value.last_lsn) == (6, 8)


def test_a_foreign_segment_is_refused() -> None:
    vfs, _ = durable_log(3, vouched=False)
    with pytest.raises(DamageFound, match="another database"):
        scan_log(vfs, BASE, bytes(16), 1)


def test_a_segment_of_another_history_does_not_join() -> None:
    """Same database, same LSNs, but not the segment that followed: the chain value tells."""
    vfs, _ = three_segments()
    other = MemoryVfs()
    log = open_log(other, seed=5)
    append_commits(log, range(101, 111))
    log.rotate()
    append_commits(log, range(111, 121))
    file = vfs.open(segment_path(BASE, 2))
    file.truncate(0)
    file.write(0, segment_bytes(other, segment_path(BASE, 2)))
    with pytest.raises(DamageFound, match="does not continue"):
        replay_all(vfs)


def test_one_damaged_header_copy_is_healed_and_two_are_damage() -> None:
    vfs, _ = three_segments()
    for number in (1, 2, 3):
        path = segment_path(BASE, number)
        raw = segment_bytes(vfs, path)
        for copy in (0, 2048):
            broken = bytearray(raw)
            broken[copy + 40] ^= 4
            file = vfs.open(path)
            file.write(0, broken)
            assert numbers(vfs) == list(range(1, 31))
        broken[40] ^= 4
        vfs.open(path).write(0, broken)
        with pytest.raises(DamageFound):
            replay_all(vfs)
        vfs.open(path).write(0, raw)


def test_a_header_torn_at_birth_is_no_damage() -> None:
    vfs, _ = three_segments()
    file = vfs.open(segment_path(BASE, 4), create=True)
    file.write(0, bytes(8192))
    found, report = replay_all(vfs)
    assert len(found) == 30 and report.next_segment_no == 5
    log = reopen_log(vfs, report)
    append_commits(log, range(31, 34))
    log.close(clean=True)
    assert numbers(vfs) == list(range(1, 34))


def test_damage_before_the_checkpoint_does_not_matter() -> None:
    vfs, offsets = durable_log(20, vouched=True)
    raw = segment_bytes(vfs)
    raw[offsets[4] + 50] ^= 1
    broken = with_segment(raw)
    assert numbers(broken, 10) == list(range(10, 21))
    with pytest.raises(DamageFound):
        replay_all(broken, 5)


def test_modes() -> None:
    vfs, offsets = durable_log(10, vouched=True)
    raw = segment_bytes(vfs)
    raw[offsets[4] + 50] ^= 1
    broken = with_segment(raw)
    found, report = replay_all(broken, mode="point-in-time")
    assert [commit[0] for commit in found] == [1, 2, 3, 4]
    assert report.lost and (report.end.first_lsn, report.end.last_lsn) == (5, 5)
    found, report = replay_all(broken, mode="salvage")
    assert [commit[0] for commit in found] == [1, 2, 3, 4, 6, 7, 8, 9, 10]
    assert report.lost and [gap.first_lsn for gap in report.gaps] == [5]
    for mode in ("strict", "tail"):
        with pytest.raises(DamageFound):
            replay_all(broken, mode=mode)
    torn, offsets = durable_log(3, vouched=False)
    raw = segment_bytes(torn)
    raw[offsets[2] + 8] ^= 1
    with pytest.raises(DamageFound, match="torn"):
        replay_all(with_segment(raw), mode="strict")


def test_salvage_goes_on_over_a_missing_segment() -> None:
    vfs, _ = three_segments()
    vfs.remove(segment_path(BASE, 2))
    found, report = replay_all(vfs, mode="salvage")
    assert [commit[0] for commit in found] == [*range(1, 11), *range(21, 31)]
    assert report.lost
    vfs.remove(segment_path(BASE, 1))
    found, report = replay_all(vfs, mode="salvage")
    assert [commit[0] for commit in found] == list(range(21, 31)) and report.lost


def test_replay_can_stop_early() -> None:
    vfs, _ = durable_log(10, vouched=True)
    found, report = replay_all(vfs, until_lsn=4)
    assert len(found) == 4 and report.stopped_early and report.next_lsn == 5
    found, report = replay_all(vfs, until_us=1_700_000_000_000_007)
    assert len(found) == 7 and report.stopped_early
    found, report = replay_all(vfs)
    assert len(found) == 10 and not report.stopped_early and report.clean_close


def test_an_unknown_record_type_is_an_error() -> None:
    vfs, offsets = durable_log(2, vouched=False)
    segment = list_segments(vfs, BASE)[0]
    assert segment.header is not None
    raw = encode_record(segment.header.epoch, 9, 0, 3, 2, b"future")
    vfs.open(SEGMENT).write(offsets[2], raw)
    with pytest.raises(NewerFormat):
        replay_all(vfs)


def test_random_bytes_raise_only_declared_errors(seed: int) -> None:
    vfs, offsets = durable_log(30, vouched=True, size=60)
    raw = segment_bytes(vfs)[: offsets[-1] + 100]
    rng = random.Random(seed)
    for _ in range(300):
        broken = bytearray(raw)
        for _ in range(rng.randrange(1, 20)):
            at = rng.randrange(len(broken))
            if rng.random() < 0.3:
                broken[at : at + 30] = rng.randbytes(30)[: len(broken) - at]
            else:
                broken[at] = rng.randrange(256)
        for mode in ("tail", "salvage"):
            try:
                replay_all(with_segment(broken), mode=mode)
            except (DamageFound, NewerFormat):
                continue


def test_a_segment_full_of_counterfeit_headers_is_refused_quickly() -> None:
    """Every 40 bytes claim a record to the end of the file: hashing them all would be quadratic."""
    vfs, offsets = durable_log(2, vouched=False)
    raw = segment_bytes(vfs)[: offsets[2]]
    segment = list_segments(vfs, BASE)[0]
    assert segment.header is not None
    count = 5000
    for index in range(count):
        left = (count - index) * 40 - 40
        fake = bytearray(encode_record(segment.header.epoch + 1, COMMIT, 0, 4, 3, b""))
        fake[4:8] = left.to_bytes(4, "little")
        raw += fake
    with pytest.raises(DamageFound, match="made to look"):
        replay_all(with_segment(raw))
