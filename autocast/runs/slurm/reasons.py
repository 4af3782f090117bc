"""Why a job waits, in plain words."""

from __future__ import annotations

import re
from collections.abc import Mapping

REASONS: Mapping[str, str] = {
    "": "waiting for the scheduler to look at it",
    "Priority": "other jobs have a higher priority",
    "Resources": "waiting for free resources",
    "Dependency": "waiting for another job",
    "DependencyNeverSatisfied": "the job it waits for did not complete: it will never start",
    "BeginTime": "not before its begin time",
    "JobHeldUser": "held by its owner (scontrol release)",
    "JobHeldAdmin": "held by an administrator",
    "JobArrayTaskLimit": "as many jobs of its array as may run at once are running",
    "Licenses": "waiting for a licence",
    "Reservation": "waiting for its reservation to begin",
    "ReservationDeleted": "its reservation is gone: it will never start",
    "PartitionDown": "the partition is down",
    "PartitionInactive": "the partition takes no jobs now",
    "PartitionNodeLimit": "it asks for more nodes than the partition allows, or the nodes are down",
    "PartitionTimeLimit": "its time is above the partition's limit: it will never start",
    "NodeDown": "a node that it asks for is down",
    "ReqNodeNotAvail": "the nodes are down, reserved, or about to be for maintenance",
    "BadConstraints": "no node can ever fulfil what it asks for",
    "AccountNotAllowed": "the account may not use the partition",
    "InvalidAccount": "there is no such account",
    "InvalidQOS": "the account may not use this QOS",
    "QOSNotAllowed": "the partition does not allow this QOS",
    "QOSJobLimit": "as many jobs as the QOS allows are in the queue",
    "QOSResourceLimit": "the QOS has reached its limit of resources",
    "QOSTimeLimit": "the QOS has reached its limit of time",
    "QOSUsageThreshold": "the account has used up more than the QOS allows",
    "AssociationJobLimit": "your account has as many jobs as it may have",
    "AssociationResourceLimit": "your account has reached its limit of resources",
    "AssociationTimeLimit": "your account has reached its limit of time",
    "JobLaunchFailure": "it could not be started on its node",
    "launch_failed_requeued_held": "it could not be started on its node, and is held (scontrol release)",
    "job_requeued_in_held_state": "requeued, and held (scontrol release)",
    "RaisedSignal": "ended by a signal",
    "NonZeroExitCode": "ended with an error",
    "OutOfMemory": "ran out of memory",
    "TimeLimit": "reached its time limit",
    "InactiveLimit": "was inactive for too long",
    "NodeFail": "a node failed",
    "FrontEndDown": "no front-end node can start it",
    "Cleaning": "its last start is still being cleaned up",
    "Prolog": "the node is being prepared",
    "BurstBufferResources": "waiting for the burst buffer",
    "BurstBufferStageIn": "the burst buffer is being filled",
    "BurstBufferOperation": "the burst buffer failed",
    "DeadLine": "it cannot end before its deadline any more",
    "SystemFailure": "the scheduler failed",
    "FedJobLock": "waiting for the other clusters of its federation",
    "MaxRequeue": "requeued as often as the site allows, and held",
    "PowerNotAvail": "not enough power",
    "PowerReserved": "the power is reserved",
    "Nodes_required_for_job_are_DOWN,_DRAINED_or_reserved_for_jobs_in_higher_priority_partitions": "the nodes it needs "
    "are down, drained, or reserved for partitions of a higher priority",
}
"""Slurm's words; limits of accounts and QOS (`AssocGrpGRES`, `QOSMaxCpuPerUserLimit`) are read by their parts."""

OWNERS = {"QOS": "the QOS", "Assoc": "your account"}
SCOPES = {
    r"PerUser|PU(?=Limit|$)": " for each user",
    r"PerAccount|PA(?=Limit|$)": " for each account",
    r"PerNode": " on one node",
    r"PerJob": " for one job",
}
LIMITS = {
    "wall": "time",
    "gres/gpu": "GPU",
    "gres": "GPU",
    "cpu": "CPU",
    "node": "node",
    "mem": "memory",
    "submit": "limit of jobs in the queue",
    "job": "limit of jobs",
    "billing": "billing",
    "license": "licence",
    "energy": "energy",
}


def in_words(reason: str) -> str:
    """A reason of Slurm in plain words; one that is not known, as it is."""
    plain = reason.strip().replace(" ", "_")
    if plain.lower() in ("none", "(null)"):
        plain = ""
    head = plain.partition(",")[0]  # `ReqNodeNotAvail, UnavailableNodes:n4`
    found = REASONS[plain] if plain in REASONS else REASONS.get(head)
    return found or _limit(head) or reason.replace("_", " ").strip()


def _limit(reason: str) -> str | None:
    """`AssocGrpGRESMinutes`: whose limit, of what, and counted how."""
    owner = next((words for prefix, words in OWNERS.items() if reason.startswith(prefix)), None)
    scope = next((words for pattern, words in SCOPES.items() if re.search(pattern, reason)), "")
    counted = re.sub("|".join(SCOPES), "", reason).lower()
    limit = next((words for part, words in LIMITS.items() if part in counted), None)
    if owner is None or limit is None:
        return None
    if "minutes" in counted:
        return f"{owner} has used up its {limit} time{scope}"
    if "min" in counted:
        return f"{owner} wants jobs to ask for more ({limit})"
    return f"{owner} has reached its {limit if limit.startswith('limit') else f'{limit} limit'}{scope}"
