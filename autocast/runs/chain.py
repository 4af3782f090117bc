"""The jobs that a command's stages become, and what each waits for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from autocast.runs.directory import TRAIN
from autocast.runs.job import AND, cluster_section
from autocast.runs.parents import Parent
from autocast.runs.place import output_base
from autocast.runs.plan import Plan
from autocast.runs.request import Request
from autocast.runs.slurm.queue import Scheduler
from autocast.runs.slurm.submit import Submission
from autocast.runs.upstream import jobs_of_parents, jobs_to_wait_for
from autocast.runs.watch.stages import Stage


@dataclass(frozen=True)
class Link:
    """A job of a chain: one stage or, in a single allocation, several."""

    plans: tuple[Plan, ...]
    waits_for: tuple[str, ...]
    """Jobs that are there already."""
    after: tuple[Stage, ...] = ()
    """Stages that were named by hand, which must be done before it does anything."""
    follows: bool = False
    """Whether it waits for the first job of the chain, a training."""

    @property
    def first(self) -> Plan:
        return self.plans[0]

    @property
    def stages(self) -> list[Stage]:
        return [Stage(plan.directory, plan.kind, plan.stage) for plan in self.plans]

    @property
    def uid(self) -> str | None:
        """Of its first stage, once that has been frozen."""
        run, kind, stage = self.stages[0]
        return run.run_record(kind, stage)["uid"] if run.run_file(kind, stage).is_file() else None

    @property
    def name(self) -> str:
        return AND.join(plan.stage for plan in self.plans)

    def submission(self, dependency: Sequence[str], nonce: str, uid: str) -> Submission:
        """What is asked of the scheduler; `nonce` makes it recognisable."""
        plan, run = self.first, self.first.directory
        return Submission(
            words=(plan.workflow, str(run.path.absolute()), self.name),
            name=f"{run.label.replace('/', '.')}.{plan.kind}.{self.name}",
            cluster=cluster_section(plan.config),
            log_dir=run.logs_dir(plan.kind).absolute(),
            directory=Path.cwd(),
            comment=f"autocast:{uid}:{self.name}:{nonce}",
            dependency=tuple(dict.fromkeys(dependency)),
        )


def chain(plans: Sequence[Plan], request: Request, scheduler: Scheduler | None) -> list[Link]:
    """The jobs of a command, with what they wait for. Nothing is written or sent.

    Args:
        plans: Of one command; a training comes first.
        request: The command.
        scheduler: Says what becomes of jobs that are there already; without one they stand in angle brackets.

    Raises:
        UpstreamError: Something that a stage stands on is not going to be made.
        SchedulerError: The scheduler cannot say.
    """
    after, named = bracketed(request.after), tuple[Stage, ...]()
    if scheduler:
        after, named = jobs_to_wait_for(request.after, output_base(request), scheduler)
    links = []
    for plan in plans:
        own = {other.directory.path.resolve() for other in plans if other.stage == TRAIN and other is not plan}
        elsewhere = [p for p in plan.parents if p.run is None or p.run.path.resolve() not in own]
        waits = jobs_of_parents(elsewhere, scheduler) if scheduler else bracketed(_pending(elsewhere))
        links.append(Link((plan,), waits, follows=bool(own)))
    links[0] = Link(links[0].plans, (*links[0].waits_for, *after), named)
    if request.single_allocation and len(links) > 1:
        together = tuple(plan for link in links for plan in link.plans)
        links = [Link(together, tuple(job for link in links for job in link.waits_for), named)]
    return links


def bracketed(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(f"<id of {name}>" for name in names)


def _pending(parents: Iterable[Parent]) -> list[str]:
    return [
        f"{parent.run.label} {parent.kind}{'' if parent.stage == TRAIN else f' {parent.stage}'}"
        for parent in parents
        if parent.pending and parent.run
    ]
