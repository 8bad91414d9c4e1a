"""Pages, trees, memtable, checkpoint: one file."""
