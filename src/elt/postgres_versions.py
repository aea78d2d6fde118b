"""Which release of PostgreSQL a server is, and whether a newer minor release was known when this one was made."""

from dataclasses import dataclass

from elt.lakehouse.ports import Tables

NEWEST = {15: 20, 16: 15, 17: 11, 18: 6}
"""The newest minor release that is known of each major that is maintained (https://www.postgresql.org/versions.json).

Renewed with the lock: a test holds it against the wheel's release. All are of August 2026, but 15.20, of November.
"""


@dataclass(frozen=True)
class Server:
    """A server's release, and what there is to say against it (empty: nothing)."""

    version: str
    warning: str

    @classmethod
    def of(cls, number: int) -> "Server":
        """From ``server_version_num``, such as 180006 for 18.6."""
        major, minor = divmod(number, 10_000)
        version, newest = f"{major}.{minor}", NEWEST.get(major)
        if major < min(NEWEST):
            return cls(version, f"PostgreSQL {version} gets no security fixes any more: upgrade to {max(NEWEST)}")
        if newest is not None and minor < newest:
            return cls(version, f"PostgreSQL {version}: security fixes of {major}.{newest} may be missing; update it")
        return cls(version, "")


def server_of(tables: Tables) -> Server:
    """The server behind the tables, however they are reached."""
    return Server.of(int(str(tables.call("controle.versao_do_servidor"))))
