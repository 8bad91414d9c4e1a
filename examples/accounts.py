"""Transfers between accounts from several threads, each transaction retried when it must be.

    python examples/accounts.py [accounts.mantis]

Every thread has its own connection. A transfer that meets another one is told so (40001 or 40P01)
and run again, so no money is lost or made.
"""

from __future__ import annotations

import random
import sys
import tempfile
import threading
from pathlib import Path

import mantisdb

ACCOUNTS = 5
START = 100
THREADS = 4
TRANSFERS = 25


def main(path: Path) -> int:
    """Returns the sum of all balances afterwards."""
    connection = mantisdb.connect(path)
    connection.execute(
        "CREATE TABLE account (id integer PRIMARY KEY, balance integer CHECK (balance >= 0))"
    )
    connection.executemany(
        "INSERT INTO account VALUES (?, ?)", [(i, START) for i in range(ACCOUNTS)]
    )
    connection.commit()

    threads = [threading.Thread(target=transfers, args=(path, seed)) for seed in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    for number, balance in connection.execute("SELECT id, balance FROM account ORDER BY id"):
        print(f"account {number}: {balance}")
    (total,) = connection.execute("SELECT sum(balance) FROM account").fetchone()
    print(f"total: {total}")
    connection.close()
    return int(total)


def transfers(path: Path, seed: int) -> None:
    """TRANSFERS random transfers on a connection of this thread's own."""
    choose = random.Random(seed)
    connection = mantisdb.connect(path)
    for _ in range(TRANSFERS):
        source, target = choose.sample(range(ACCOUNTS), 2)
        amount = choose.randint(1, 30)

        def transfer(connection: mantisdb.Connection) -> None:
            connection.execute(
                "UPDATE account SET balance = balance - ? WHERE id = ?",
                (amount, source),  # noqa: B023  (called before the loop goes on)
            )
            connection.execute(
                "UPDATE account SET balance = balance + ? WHERE id = ?",
                (amount, target),  # noqa: B023
            )

        try:
            mantisdb.run_transaction(connection, transfer, attempts=100)
        except mantisdb.IntegrityError:
            pass  # not enough money: CHECK (balance >= 0) refused, and nothing changed
    connection.close()


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as folder:
            main(Path(folder) / "accounts.mantis")
