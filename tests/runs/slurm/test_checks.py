"""Everything that is wrong with a job is told at once, in terms of its keys."""

from __future__ import annotations

import time

import pytest

from autocast.runs.slurm.checks import check
from autocast.runs.slurm.commands import AbsentError, UnreachableError
from autocast.runs.slurm.nodes import mebibytes, nodes, partitions

PARTITION = (
    "PartitionName={name} AllowGroups=ALL AllowAccounts=ALL AllowQos=ALL AllocNodes=ALL Default={default} QoS=N/A "
    "DefaultTime={usual} DisableRootJobs=NO MaxNodes=UNLIMITED MaxTime={time} MinNodes=0 Nodes=n[1-2] "
    "PreemptMode=REQUEUE State={state} TotalCPUs=8 TotalNodes={n} TRES=cpu=8,mem=20000M,node=2,billing=8\n"
)
NODE = (
    "NodeName={name} Arch=x86_64 CoresPerSocket=1  CPUAlloc=0 CPUEfctv={cpus} CPUTot={cpus} CPULoad=0.03 "
    "AvailableFeatures=(null) Gres={gres} NodeAddr=127.0.0.1 RealMemory={memory} AllocMem=0 Sockets=4 "
    "State={state} Partitions={partitions}  BootTime=2026-11-25T20:30:25 AllocTRES= Reason=x=y [root@2026]\n"
)


@pytest.fixture
def cluster(slurm):
    """A partition `main` of two unlike nodes, and a `short` one."""
    names = [("main", "YES", "UNLIMITED", "NONE", 2, "UP"), ("short", "NO", "00:05:00", "00:02:00", 1, "UP")]
    keys = ("name", "default", "time", "usual", "n", "state")
    slurm.shows("partition", "".join(PARTITION.format(**dict(zip(keys, row, strict=True))) for row in names))
    show_nodes(slurm)
    return slurm


def show_nodes(slurm, state: str = "IDLE") -> None:
    keys = ("name", "cpus", "memory", "gres", "partitions", "state")
    rows = [
        ("n1", 4, 10000, "gpu:a100:2(S:0-1)", "main,short", state),
        ("n2", 16, 64000, "gpu:a100:4,gpu:v100:1", "main", state),
    ]
    slurm.shows("node", "".join(NODE.format(**dict(zip(keys, row, strict=True))) for row in rows))


def told(*sections) -> dict[str, str]:
    return {problem.subject: problem.message for problem in check(sections).problems}


def test_what_fits_is_told_when_it_would_start(cluster, section):
    checks = check([section(time="12:00:00", gpus_per_node=4, gpu_type="a100", memory="60G"), section(nodes=2)])
    assert (checks.problems, checks.notes, checks.unchecked) == ([], [], [])
    assert len(checks.expected_starts) == 2
    assert all(start > time.time() + 1800 for start in checks.expected_starts)
    assert [len(cluster.calls(program)) for program in ("scontrol", "sbatch")] == [2, 2]


def test_every_mistake_is_told_at_once(cluster, section):
    found = told(section(partition="short", time=10, memory="64G", gpus_per_node=8, tasks_per_node=64, nodes=3))
    assert found == {
        "cluster.time=10": "partition short gives a job 00:05:00 at most.",
        "cluster.memory=64G": "a node of partition short has 9G at most (10000M).",
        "cluster.gpus_per_node=8": "a node of partition short has 2 at most.",
        "cluster.tasks_per_node=64": "64 tasks want as many CPUs; a node of partition short has 4 at most.",
        "cluster.nodes=3": "partition short gives a job 1 at most.",
    }


def test_sbatch_is_asked_without_what_is_known_to_be_wrong(cluster, section):
    told(section(partition="short", time=10, memory="64G", account="mine"))
    tested = (cluster.directory / "tested.sh").read_text()
    assert "--account=mine" in tested
    assert "--mem" not in tested
    assert "--time" not in tested


def test_a_wrong_partition_is_told_with_what_there_is_and_what_it_hides(cluster, section):
    checks = check([section(partition="shrt", memory="999G")])
    (problem,) = checks.problems
    assert problem.subject == "cluster.partition=shrt"
    assert "Did you mean short?" in problem.message
    assert "main (default), short (up to 00:05:00)" in problem.message
    assert "memory" in checks.unchecked[0]


def test_sbatch_is_asked_again_for_its_next_complaint(cluster, section):
    cluster.plan(
        sbatch=[
            "say:allocation failure: Invalid account or account/partition combination specified",
            "say:allocation failure: Invalid qos specification",
            "say:allocation failure: Invalid feature specification",
            "ok",
        ]
    )
    found = told(section(account="a", qos="q", constraint="c"))
    assert list(found) == ["cluster.account=a", "cluster.qos=q", "cluster.constraint=c"]


def test_what_sbatch_alone_knows_is_told_once(cluster, section):
    cluster.plan(sbatch=["say:allocation failure: Requested node configuration is not available"])
    found = told(section())
    assert list(found) == ["cluster"]
    assert "not available" in found["cluster"]


def test_an_unknown_option_ends_the_questions(cluster, section):
    cluster.plan(sbatch=["say:sbatch: unrecognized option '--foo=1'"])
    assert list(told(section(options={"foo": 1}))) == ["cluster.options"]


@pytest.mark.parametrize(
    ("keys", "subject", "message"),
    [
        ({"gpus_per_node": 1, "gpu_type": "h100"}, "cluster.gpu_type=h100", "There are: a100, v100."),
        ({"gpus_per_node": 2, "gpu_type": "v100"}, "cluster.gpus_per_node=2", "has 1 v100 at most"),
        ({"cpus_per_task": 5, "gpus_per_node": 4}, "cluster.cpus_per_task=5", "4 tasks of 5 CPUs are 20"),
        ({"nodes": 2, "memory": "60G"}, "cluster.nodes=2", "has 1 with all of what is asked for"),
        ({"memory": "much"}, "cluster.memory=much", "not an amount of memory"),
        ({"time": "soon"}, "cluster.time=soon", "not a time"),
        ({"partition": "short"}, "cluster.time", "too little to be told to stop 120 s before"),
    ],
)
def test_what_does_not_fit(cluster, section, keys, subject, message):
    found = told(section(**keys))
    assert list(found) == [subject]
    assert message in found[subject]


def test_one_of_several_partitions_is_enough(cluster, section):
    assert told(section(partition="short,main", time="12:00:00", memory="60G")) == {}


def test_a_user_s_own_default_partition_counts(cluster, section, monkeypatch):
    monkeypatch.setenv("SBATCH_PARTITION", "short")
    assert list(told(section(time="12:00:00"))) == ["cluster.time=12:00:00"]


def test_nodes_that_are_down_are_a_note(cluster, section):
    show_nodes(cluster, state="DOWN*+DRAIN")
    checks = check([section()])
    assert checks.problems == []
    assert "down or drained" in checks.notes[0]


def test_the_same_mistake_of_two_jobs_is_told_once(cluster, section):
    assert len(check([section(memory="999G"), section(memory="999G")]).problems) == 1


def test_a_scheduler_that_is_silent_or_absent_is_an_error(cluster, section):
    cluster.plan(scontrol=["down"])
    with pytest.raises(UnreachableError):
        check([section()])
    cluster.remove("scontrol")
    with pytest.raises(AbsentError):
        check([section()])


def test_partitions_and_nodes_are_read(cluster):
    assert partitions()["short"].max_time == 300.0
    assert [node.gpus for node in nodes()] == [{"a100": 2}, {"a100": 4, "v100": 1}]


@pytest.mark.parametrize(
    ("text", "amount"), [("64G", 65536), ("512M", 512), (2048, 2048), ("1TB", 1048576), ("x", None)]
)
def test_amounts_of_memory(text, amount):
    assert mebibytes(text) == amount
