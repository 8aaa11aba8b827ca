"""Create, mark and take back users in batches, and write down what was done as it is done."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from helpers.graph import BatchAnswer, BatchItem, Graph
from helpers.legacy_export import LegacyUser
from helpers.tenant.user_batches import Pace, chunks, creation, is_duplicate, require_allowed, run
from helpers.tenant.user_cards import Applied
from helpers.tenant.user_journal import Did, Journal
from helpers.tenant.user_plan import Plan
from jitkit.display import Sent
from jitkit.errors import KitError

__all__ = ["UserWriter", "take_back"]


class UserWriter:
    """Carry a plan out and count what came of it.

    Args:
        graph: the way to the tenant.
        journal: where ids are written down.
        plan: what to do.
        progress: called with how many are done and how many there are in all, or None.
    """

    def __init__(
        self, graph: Graph, journal: Journal, plan: Plan, progress: Callable[[int, int], object] | None
    ) -> None:
        self._graph = graph
        self._journal = journal
        self._plan = plan
        self._progress = progress
        self._pace = Pace()
        self._total = self._done = self._created = self._marked = self._there = 0
        self._refused: list[tuple[str, str]] = []

    async def write(self, create: Sequence[LegacyUser], mark: Sequence[str]) -> None:
        """Create these people and set the flag of those object ids.

        Raises:
            GraphRefused: what is refused to one would be refused to all.
        """
        self._total = len(create) + len(mark)
        self._advance(0)
        await run(chunks(create), self._create, pace=self._pace, sent=self._advance)
        await run(chunks(mark), self._mark, pace=self._pace, sent=self._advance)

    def card(self, planned: int, sent: Sequence[Sent]) -> Applied:
        """Tell what came of it.

        Args:
            planned: how many the whole plan holds.
            sent: the requests; the first stands for all of its kind.
        """
        left = planned - self._total
        facts = {"Created": f"{self._created:,}", "Marked": f"{self._marked:,}"}
        if self._there:
            facts["There already"] = f"{self._there:,}: they came between the plan and now; plan again to see them"
        if self._refused:
            facts["Refused"] = f"{len(self._refused):,}, listed below"
        if left:
            facts["Left for a later run"] = f"{left:,}"
        if len(sent) > 1:
            facts["Requests"] = f"{len(sent):,}, of which the first is shown"
        status = "refused in part" if self._refused else "done" if not left else "done in part"
        return Applied(
            title="Users",
            status=status if planned else "nothing to do",
            facts=facts,
            sent=tuple(sent[:1]),
            created=self._created,
            marked=self._marked,
            there=self._there,
            left=left,
            refused=tuple(self._refused),
        )

    async def _create(self, people: Sequence[LegacyUser]) -> int:
        flag, issuer = self._plan.flag, self._plan.issuer
        answers = await self._graph.batch(
            [BatchItem("POST", "/users", creation(each, flag=flag, issuer=issuer)) for each in people]
        )
        made = [answer.body["id"] for answer in answers if answer.status == 201]
        self._journal.add("created", made)
        self._created += len(made)
        self._settle([each.username for each in people], answers, good=201)
        return len(people)

    async def _mark(self, ids: Sequence[str]) -> int:
        flag = self._plan.flag
        # Asked again, because a plan may be old: whoever has migrated since must not be marked again.
        now = await self._graph.batch([BatchItem("GET", f"/users/{each}?$select=id,{flag}") for each in ids])
        self._settle([self._plan.mark[each] for each in ids], now, good=200)
        unset = [id for id, answer in zip(ids, now, strict=True) if answer.status == 200 and _empty(answer, flag)]
        self._there += sum(answer.status == 200 for answer in now) - len(unset)
        if unset:
            answers = await self._graph.batch([BatchItem("PATCH", f"/users/{each}", {flag: True}) for each in unset])
            good = [id for id, answer in zip(unset, answers, strict=True) if answer.status == 204]
            self._journal.add("marked", good)
            self._marked += len(good)
            self._settle([self._plan.mark[each] for each in unset], answers, good=204)
        return len(ids)

    def _settle(self, names: Sequence[str], answers: Sequence[BatchAnswer], *, good: int) -> None:
        self._pace.learn(any(answer.pressed for answer in answers))
        require_allowed(answers, "write the users")
        for name, answer in zip(names, answers, strict=True):
            if is_duplicate(answer):
                self._there += 1
            elif answer.status != good:
                self._refused.append((name, f"{answer.status} {answer.code}: {answer.message}"))

    def _advance(self, by: int) -> None:
        self._done += by
        if self._progress is not None:
            self._progress(self._done, self._total)


async def take_back(graph: Graph, journal: Journal, flag: str, *, delete: Sequence[str], unmark: Sequence[str]) -> int:
    """Delete some users and take the flag off others. Each is asked for again just before: whoever has moved stays.

    Args:
        graph: the way to the tenant.
        journal: where it is written down.
        flag: the flag's full name.
        delete: object ids.
        unmark: object ids.

    Returns:
        How many stayed because they have moved meanwhile.

    Raises:
        GraphRefused: the identity may not do it.
        KitError: some were refused; run again to go on.
    """
    refused: list[str] = []
    stayed = 0
    pace = Pace()

    async def ask(items: Sequence[BatchItem]) -> list[BatchAnswer]:
        answers = await graph.batch(items)
        pace.learn(any(answer.pressed for answer in answers))
        return answers

    def settle(answers: Sequence[BatchAnswer], *good: int) -> None:
        require_allowed(answers, "remove users")
        refused.extend(f"{each.status} {each.code}: {each.message}" for each in answers if each.status not in good)

    async def send(items: Sequence[tuple[str, BatchItem]]) -> None:
        nonlocal stayed
        now = await ask([BatchItem("GET", f"/users/{id}?$select=id,{flag}") for id, _ in items])
        # 404, here and below: somebody else deleted the user; gone is gone.
        settle(now, 200, 404)
        there = [(item, answer) for item, answer in zip(items, now, strict=True) if answer.status == 200]
        flagged = [item for item, answer in there if answer.body.get(flag) is True]
        stayed += len(there) - len(flagged)
        gone = [id for (id, _), answer in zip(items, now, strict=True) if answer.status == 404]
        answers = await ask([item for _, item in flagged]) if flagged else []
        gone += [id for (id, _), answer in zip(flagged, answers, strict=True) if answer.status in (204, 404)]
        did: Did = "removed"
        journal.add(did, gone)
        settle(answers, 204, 404)

    items = [(each, BatchItem("DELETE", f"/users/{each}")) for each in delete]
    items += [(each, BatchItem("PATCH", f"/users/{each}", {flag: None})) for each in unmark]
    await run(chunks(items), send, pace=pace, sent=lambda _: None)
    if refused:
        raise KitError(
            f"{len(refused):,} users could not be removed; the others are.",
            service=refused[0],
            next_step="Read what the service said, mend it, and run this cell again.",
        )
    return stayed


def _empty(answer: BatchAnswer, flag: str) -> bool:
    return answer.body.get(flag) is None
