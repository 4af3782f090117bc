"""A scheduler that misbehaves on demand: sbatch, squeue, sacct, scontrol and scancel, by the name it is called by.

Its directory holds `jobs.json`, `calls.jsonl`, and `plan.json`: for each program what its next calls do, the last for
ever.
"""

import json
import re
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
PROGRAM, WORDS = Path(sys.argv[0]).name, sys.argv[1:]
TIMED_OUT = "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation"


def load(name, default):
    file = HERE / name
    return json.loads(file.read_text()) if file.is_file() else default


def save(name, content):
    (HERE / name).write_text(json.dumps(content))


def behaviour():
    plan = load("plan.json", {})
    steps = plan.get(PROGRAM, ["ok"])
    if len(steps) > 1:
        save("plan.json", {**plan, PROGRAM: steps[1:]})
    return steps[0]


def leave(code, message=""):
    print(message, file=sys.stderr)
    sys.exit(code)


def accept():
    """A new job, or array, from the script."""
    text = Path(WORDS[-1]).read_text()
    options = dict(re.findall(r"^#SBATCH --([\w-]+)=(.*)$", text, re.MULTILINE))
    jobs = load("jobs.json", [])
    number = 1 + max((int(job["id"].partition("_")[0]) for job in jobs), default=100)
    n = int(options["array"].partition("%")[0].partition("-")[2]) + 1 if "array" in options else 0
    ids = [f"{number}_{index}" for index in range(n)] or [str(number)]
    new = [{"id": own, "comment": options["comment"], "name": options["job-name"], "state": "PENDING"} for own in ids]
    save("jobs.json", [*jobs, *new])
    return number


def sbatch(how):
    if "--test-only" in WORDS:
        (HERE / "tested.sh").write_text(sys.stdin.read())
        if how.startswith("say:"):
            leave(1, how.removeprefix("say:"))
        start = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(time.time() + 3600))
        leave(0, f"sbatch: Job 5 to start at {start} using 1 processors on nodes n1 in partition main")
    if how == "hang":
        time.sleep(60)
    if how == "accept, then hang":
        accept()
        time.sleep(60)
    if how == "accept, then time out":
        accept()
        leave(1, TIMED_OUT)
    if how == "time out":
        leave(1, TIMED_OUT)
    if how == "down":
        leave(1, "sbatch: error: Batch job submission failed: Unable to contact slurm controller (connect failure)")
    if how == "full":
        leave(1, "sbatch: error: Slurm temporarily unable to accept job, sleeping and retrying")
    if how.startswith("say:"):
        leave(1, how.removeprefix("say:"))
    number = accept()
    told = {
        "federated": f"Submitted batch job {number} on cluster north",
        "parsable": f"{number};north",
        "talk": f"Your project has 3 GPU hours left\nSubmitted batch job {number}\n",
        "mumble": "Thank you",
    }
    print(told.get(how, f"Submitted batch job {number}"))


def squeue(how):
    if how == "down":
        leave(1, "slurm_load_jobs error: Unable to contact slurm controller (connect failure)")
    if how == "hang":
        time.sleep(60)
    if how == "federated":
        print("CLUSTER: north")
    fields = next(word for word in WORDS if word.startswith("--Format=")).removeprefix("--Format=").split(",")
    for job in load("jobs.json", []):
        values = {
            "JobArrayID": job["id"] + (";north" if how == "federated" else ""),
            "State": job["state"],
            "Reason": job.get("reason", "None"),
            "Name": job["name"],
            "Comment": job["comment"],
            "Partition": "main",
            "exit_code": str(job.get("status", 0)),
            "TimeUsed": "1:05",
            "TimeLimit": job.get("limit", "1-02:00:00"),
            "StartTime": "2031-05-06T07:08:09",
            "EndTime": "N/A",
            "Dependency": job.get("dependency", "(null)"),
        }
        line = b""
        for field in fields:
            name, _, width = field.partition(":")
            line += values.get(name, "").encode()[: int(width)].ljust(int(width))
        sys.stdout.buffer.write(line + b"\n")


def sacct(how):
    if how == "disabled":
        leave(1, "Slurm accounting storage is disabled")
    for record in load("accounting.json", []):
        print("\x1f".join(record))


def scontrol(how):
    if how == "down":
        leave(1, "slurm_load_partitions: Unable to contact slurm controller (connect failure)")
    what = WORDS[1]
    if what == "job":
        leave(1, "slurm_load_jobs error: Invalid job id specified")
    sys.stdout.write((HERE / f"{what}.txt").read_text())


def scancel(how):
    if how.startswith("say:"):
        leave(1, how.removeprefix("say:"))
    save("jobs.json", [job for job in load("jobs.json", []) if job["id"].partition("_")[0] not in WORDS])


with (HERE / "calls.jsonl").open("a") as stream:
    stream.write(json.dumps([PROGRAM, *WORDS]) + "\n")
{"sbatch": sbatch, "squeue": squeue, "sacct": sacct, "scontrol": scontrol, "scancel": scancel}[PROGRAM](behaviour())
