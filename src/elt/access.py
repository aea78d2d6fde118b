"""Who else gets in: the ways by which ``anon`` or ``authenticated`` read or write the lakehouse, in words.

PostgreSQL says what is granted, and which policies apply (the function ``controle.aberturas``, the same by every way to
the database); whether a policy's condition can hold for the lakehouse's data is decided here. A condition counts as
closed only where that is certain; whatever cannot be told is reported.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from elt.conditions import may_hold
from elt.lakehouse.ports import Tables

Facts = Mapping[str, Any]
"""What ``controle.aberturas`` answers: its comment describes it."""

ON_PURPOSE = {"gold_aberta": "supabase/close-gold.sql", "demonstracao_aberta": "supabase/close-demo.sql"}
"""The policies of ``open-gold.sql`` and ``open-demo.sql``, by which the owner opens something on purpose, and what
takes it back. A policy of one's own that only reads gold counts as meant, too, if it has the first name."""

_WHO = {
    "anon": "anybody who has the project's public key (anon)",
    "authenticated": "everybody who signs up (authenticated)",
}
_CAN = {"SELECT": "read", "INSERT": "insert into", "UPDATE": "update", "DELETE": "delete from", "TRUNCATE": "truncate"}
_PASTE = "paste into the SQL Editor of the dashboard (or psql): "


@dataclass(frozen=True)
class Check:
    """One thing that is needed: what it is, what is wrong with it (empty: nothing), and the click or SQL to do next."""

    what: str
    problem: str = ""
    next_step: str = ""


@dataclass(frozen=True)
class Opening:
    """One way in: who can do what and why, what to click or paste, and whether the owner opened it on purpose."""

    what: str
    next_step: str
    on_purpose: bool = False


def look(tables: Tables, bucket: str | None) -> list[Opening]:
    """Every way in that is open in effect. ``bucket``: bronze's in the same project; None if bronze is elsewhere."""
    return openings(cast(Facts, tables.call("controle.aberturas", p_bucket=bucket)), bucket)


def openings(facts: Facts, bucket: str | None) -> list[Opening]:
    """The ways in that the facts show."""
    ways = _ways(facts["direitos"], bucket)
    meant = {policy: [way for way in ways if way.policy == policy and way.on_purpose] for policy in ON_PURPOSE}
    found = [_public_bucket(str(bucket))] if facts["bucket_publico"] else []
    found += [_opening(way, facts["outros_buckets"], bucket) for way in ways if not way.on_purpose]
    for function in facts["funcoes"]:
        if not (function["quem"] == "anon" and meant["demonstracao_aberta"]):
            found.append(_function(function))
    return found + [_meant(policy, some, bucket) for policy, some in meant.items() if some]


@dataclass(frozen=True)
class _Way:
    """What one policy, or a grant without one, lets some roles do with one table, directly or through a view."""

    table: str
    through: str
    policy: str
    condition: str
    roles: tuple[str, ...]
    commands: tuple[str, ...]
    granted: tuple[str, ...]
    owner: str
    protected: bool

    @property
    def on_purpose(self) -> bool:
        """Whether one of our own files made it."""
        if self.policy == "gold_aberta":
            return self.table.startswith("gold.") and self.commands == ("SELECT",)
        return self.policy == "demonstracao_aberta" and self.roles == ("anon",)


def _ways(rights: Sequence[Mapping[str, Any]], bucket: str | None) -> list[_Way]:
    """The rights that are open, put together by table, view and policy."""
    found: dict[tuple[str, ...], dict[str, list[Mapping[str, Any]]]] = {}
    for right in rights:
        for policy, condition in _let_through(right, bucket):
            way = (right["objeto"], right["via"] or "", policy, condition)
            found.setdefault(way, {}).setdefault(right["quem"], []).append(right)
    ways = []
    for (table, through, policy, condition), by_role in found.items():
        alike: dict[tuple[str, ...], list[str]] = {}
        for role, some in by_role.items():
            allowed = {right["comando"] for right in some}
            alike.setdefault(tuple(command for command in _CAN if command in allowed), []).append(role)
        for commands, roles in alike.items():
            some = [right for role in roles for right in by_role[role]]
            granted = tuple(dict.fromkeys(name for right in some for name in right["por"] or ()))
            owner, protected = some[0]["dono"], some[0]["protegido"]
            ways.append(_Way(table, through, policy, condition, tuple(roles), commands, granted, owner, protected))
    return ways


def _let_through(right: Mapping[str, Any], bucket: str | None) -> list[tuple[str, str]]:
    """The policies (name and condition) that let a right through; one without a name if none is needed."""
    if right["livre"]:
        return [("", "")]
    known = _known(right["objeto"], right["quem"], bucket)
    policies = [(policy, may_hold(policy["condicao"], known)) for policy in right["politicas"]]
    if any(not policy["permissiva"] and not holds for policy, holds in policies):
        return []
    return [(policy["nome"], policy["condicao"]) for policy, holds in policies if policy["permissiva"] and holds]


def _known(table: str, role: str, bucket: str | None) -> dict[str, str | None]:
    """What conditions speak of and is the same in all that is ours: the bucket, and what a request by a key says."""
    known: dict[str, str | None] = {"auth.role()": role, "auth.jwt() ->> 'role'::text": role}
    if role == "anon":
        known |= {"auth.uid()": None, "auth.email()": None}
    known |= {f"SELECT {call} AS {call[5:-2]}": value for call, value in known.items() if call.endswith("()")}
    columns = {"storage.objects": ("bucket_id", "objects.bucket_id"), "storage.buckets": ("id", "name")}
    return known | dict.fromkeys(columns.get(table, ()), bucket)


def _opening(way: _Way, other_buckets: Sequence[str], bucket: str | None) -> Opening:
    things = {
        "storage.objects": f"the bucket {bucket} (storage.objects)",
        "storage.buckets": f"the settings of the bucket {bucket} (storage.buckets)",
    }
    through = f" through the view {way.through}" if way.through else ""
    if way.policy:
        where = "" if way.condition == "true" else f", where {way.condition}"
        cause = f'the policy "{way.policy}"{where}'
    else:
        cause = _by(way.granted)
    what = f"{_listed([_WHO[role] for role in way.roles])} can {_listed([_CAN[one] for one in way.commands])} "
    return Opening(
        f"{what}{things.get(way.table, way.table)}{through}: {cause}",
        _closing(way, other_buckets, bucket),
    )


def _closing(way: _Way, other_buckets: Sequence[str], bucket: str | None) -> str:
    """What to click or paste."""
    in_storage = way.table.startswith("storage.") and not way.through
    if in_storage and way.policy and other_buckets:
        column = "bucket_id" if way.table == "storage.objects" else "id"
        test = f"({column} <> {_literal(str(bucket))})"
        return (
            f"other buckets ({', '.join(other_buckets)}) may live by that policy; this closes bronze's and leaves them "
            f"as they are; {_PASTE}create policy bronze_fechado on {way.table} as restrictive for all "
            f"to anon, authenticated using {test} with check {test};"
        )
    if in_storage and way.policy:
        click = f'in the dashboard: Storage → Policies: delete "{way.policy}"; or {_PASTE}'
        return f"{click}drop policy {_quoted(way.policy)} on {way.table};"
    if in_storage and not way.protected:
        return f"{_PASTE}alter table {way.table} enable row level security;"
    if in_storage:  # the grants are Storage's own
        others = [name for name in way.granted if name not in way.roles]
        return _PASTE + " ".join(_revoked(way.table, others, way.roles, way.owner))
    statements = [f"drop policy {_quoted(way.policy)} on {way.table};"] if way.policy and not way.through else []
    return _PASTE + " ".join(statements + _revoked(way.through or way.table, way.granted, way.roles, way.owner))


def _revoked(relation: str, granted: Collection[str], roles: Sequence[str], owner: str) -> list[str]:
    """What takes the rights to a relation back that ``roles`` have by a grant to themselves, to all, or to others."""
    direct = [name for name in granted if name == "public" or (name in roles and name != owner)]
    found = [f"revoke all on {relation} from {', '.join(map(_quoted, direct))};"] if direct else []
    if owner in roles:
        found.append(f"alter table {relation} owner to current_user;")
    others = [name for name in granted if name not in direct and name not in roles]
    found += [f"revoke {_quoted(name)} from {', '.join(roles)};" for name in others]
    return found or [f"alter role {role} nobypassrls;" for role in roles]


def _public_bucket(bucket: str) -> Opening:
    private = f"update storage.buckets set public = false where id = {_literal(bucket)};"  # noqa: S608 - for a person
    return Opening(
        f"anybody can download the objects of the bucket {bucket} without any key: it is public",
        f"in the dashboard: Storage → {bucket} → Edit bucket: switch Public bucket off; or {_PASTE}{private}",
    )


def _function(function: Mapping[str, Any]) -> Opening:
    granted, role = function["por"] or (), function["quem"]
    direct = [name for name in granted if name in ("public", role)]
    statements = [f"revoke execute on function {function['funcao']} from {', '.join(direct)};"] if direct else []
    statements += [f"revoke {_quoted(name)} from {role};" for name in granted if name not in direct]
    what = f"{_WHO[role]} can call {function['funcao']}, which runs with its owner's rights"
    return Opening(f"{what}: {_by(granted)}", _PASTE + " ".join(statements))


def _meant(policy: str, ways: Sequence[_Way], bucket: str | None) -> Opening:
    """All that one of our own files opened, as one."""
    schemas = dict.fromkeys(way.table.split(".")[0] for way in ways)
    places = [name if name != "storage" else f"the bucket {bucket}" for name in schemas]
    can = "read" if all(way.commands == ("SELECT",) for way in ways) else "read and write"
    roles = dict.fromkeys(role for way in ways for role in way.roles)
    return Opening(
        f"{_listed([_WHO[role] for role in roles])} can {can} {_listed(places)}: opened on purpose (policy {policy})",
        f"to take it back, run: {ON_PURPOSE[policy]}",
        on_purpose=True,
    )


def _by(granted: Collection[str]) -> str:
    return f"granted to {_listed(granted)}" if granted else "by the role's own attributes"


def _listed(words: Collection[str]) -> str:
    *most, last = words
    return f"{', '.join(most)} and {last}" if most else last


def _quoted(name: str) -> str:
    return name if re.fullmatch(r"[a-z_][a-z0-9_]*", name) else '"' + name.replace('"', '""') + '"'


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
