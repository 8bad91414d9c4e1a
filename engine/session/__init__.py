"""One client of a database: settings, transaction, plan cache, and the pipeline.

session.py       Session: execute, execute_many, cancel; the pipeline
transactions.py  its transaction: autocommit, BEGIN … COMMIT, savepoints, the failed state
plan_cache.py    text, then normalised text, to compiled statement
statements.py    compiling: bind, plan, optimize, choose an executor
controls.py      statements without a plan: BEGIN, SET, SHOW, PRAGMA, CHECKPOINT, EXPLAIN
explain.py       plans as rows
"""

from engine.session.session import Session
from engine.sql.executor.result import Result

__all__ = ["Result", "Session"]
