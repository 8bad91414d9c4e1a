"""The write-ahead log: bytes, segments, reading, replay."""
