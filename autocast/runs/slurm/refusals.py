"""What to do about a refusal of the scheduler."""

from __future__ import annotations

REMEDIES = {
    "invalid partition": "There is no such partition. `sinfo -s` lists them: cluster.partition=NAME",
    "account or account/partition": "The account is not yours, or may not use this partition. "
    "`sacctmgr show assoc user=$USER format=account,partition,qos` lists yours: cluster.account=NAME",
    "invalid account": "There is no such account, or it is not yours: cluster.account=NAME",
    "invalid qos": "This account may not use this quality of service: cluster.qos=NAME or cluster.qos=null",
    "node configuration is not available": "No node of the partition has what is asked for. Ask for less of "
    "cluster.memory, cluster.gpus_per_node, cluster.cpus_per_task or cluster.tasks_per_node; "
    "`sinfo -N -o '%N %c %m %G'` lists the nodes",
    "partition configuration not available": "The partition is too small, or down: cluster.nodes, cluster.partition",
    "generic resource (gres)": "There are no such GPUs here: cluster.gpu_type=NAME or null, cluster.gpus_per_node=N",
    "trackable resource": "There are no such GPUs here: cluster.gpu_type=NAME or null, cluster.gpus_per_node=N",
    "invalid wckey": "This site tracks workload keys: cluster.options.wckey=KEY",
    "job violates accounting/qos policy": "More than the account or QOS may have, in jobs, size or time. "
    "Wait for jobs to end (`autocast status`), or ask for less of cluster.time, cluster.nodes or cluster.gpus_per_node",
    "submit limit": "As many jobs as the account may have are in the queue. Wait for some to end (`autocast status`)",
    "job dependency": "A job to wait for is unknown to the scheduler: it ended long ago, or never was",
    "time limit is invalid": "More time than the partition allows, or none where it must be given: "
    "cluster.time=HH:MM:SS",
    "invalid --time": "Slurm reads minutes, M:S, H:M:S, D-H, D-H:M or D-H:M:S: cluster.time=HH:MM:SS",
    "memory specification": "Memory is a number with K, M, G or T: cluster.memory=64G",
    "invalid --mem": "Memory is a number with K, M, G or T: cluster.memory=64G",
    "memory required by task": "No node has that much memory: cluster.memory=N",
    "invalid feature": "No node has this feature: cluster.constraint=NAME or null",
    "reservation": "There is no such reservation, or you may not use it: cluster.reservation=NAME or null",
    "node count": "More or fewer nodes than the partition allows: cluster.nodes=N",
    "more processors requested": "More CPUs than the partition allows: cluster.cpus_per_task, cluster.tasks_per_node",
    "user's group not permitted": "Your group may not use this partition: cluster.partition=NAME",
    "invalid node name": "There is no such node: cluster.options.nodelist, cluster.options.exclude",
    "required node not available": "The node is down or reserved: cluster.options.nodelist",
    "unrecognized option": "This version of Slurm has no such option: cluster.options",
    "can't be reached now": "There is no such cluster, or it does not answer: SLURM_CLUSTERS",
    "authentication": "This machine may not talk to the scheduler (munge). Submit from a login node",
    "access/permission denied": "The scheduler does not let you. Ask the site",
    "script/environment to file": "The controller's disk is full or broken. Tell the site",
}
"""Part of what the scheduler says, in lower case, and what to do about it; the first that fits counts."""


def remedy(said: str) -> str:
    """A sentence to put behind what the scheduler said, with a blank before it; nothing where none is known."""
    lowered = said.lower()
    found = next((words for phrase, words in REMEDIES.items() if phrase in lowered), None)
    return f" {found}." if found else ""
