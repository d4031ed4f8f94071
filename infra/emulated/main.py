"""Deploys, checks, reports: main.py PACKAGES. A line for each check, the tail of the logs when one fails. See `run`."""

import os
import pathlib
import shutil
import signal
import sys
import tempfile
import time
import traceback

import deployed
import events
import jobs
import messages
import runbook
import streaming
import users
import watch
from world import World

ROOT = pathlib.Path(__file__).resolve().parents[2]
TARGET = ROOT / "target/emulated"

# In order. The start is lost first and looked for late: the sweeper's schedule comes once a minute.
CHECKS = [
    events.the_bus_has_a_listener,
    messages.a_start_is_lost,
    deployed.routes_indexes_and_sources_are_there,
    jobs.a_job_is_answered,
    jobs.a_job_with_a_tool_takes_two_turns,
    jobs.what_is_wrong_is_told_by_name,
    jobs.the_same_key_starts_one_job,
    jobs.a_cancelled_job_lets_go_of_the_model,
    jobs.a_deleted_job_is_gone,
    users.without_a_good_token_nothing_starts,
    users.anothers_job_does_not_exist,
    users.a_users_own_key_reaches_the_model_and_nobody_else,
    events.an_event_starts_one_job,
    events.what_cannot_be_started_is_rejected_and_kept,
    streaming.a_stream_has_the_whole_log,
    streaming.frames_arrive_as_they_are_made,
    messages.of_a_batch_only_the_unreadable_comes_back,
    messages.a_message_that_cannot_be_read_is_kept,
    messages.what_comes_back_too_often_is_a_dead_letter,
    messages.the_schedules_sweep_finds_the_lost_start,
    # After the schedule's sweep: for ten seconds it pauses everything.
    runbook.each_command_of_the_runbook_does_what_it_says,
    # The first that calls the sweeper.
    watch.cargo_lambda_invokes_the_functions_with_the_event_files,
    deployed.logs_hold_no_secrets,
    deployed.nothing_listens_beyond_loopback,
]


def line(word, seconds, text):
    print(f"{word:6} {seconds:6.2f} s    {text}", flush=True)


def main(packages):
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    os.chdir(ROOT)
    TARGET.mkdir(parents=True, exist_ok=True)
    directory = pathlib.Path(tempfile.mkdtemp(prefix="run-", dir=TARGET))
    begun, failed, world = time.monotonic(), [], None

    def attempt(name, call):
        at = time.monotonic()
        try:
            found = call()
        except Exception as error:  # whatever it is, the next check is tried
            line("FAILED", time.monotonic() - at, f"{name}: {str(error) or repr(error)}")
            with (directory / "failures.txt").open("a") as file:
                file.write(f"{name}\n{traceback.format_exc()}\n")
            failed.append(name)
            return None
        line("ok", time.monotonic() - at, name if not isinstance(found, str) else f"{name}: {found}")
        return found

    try:
        world = World(directory, ROOT / "template.yaml", packages)
        attempt("the template is deployed", world.deploy)
        for check in CHECKS if not failed else []:
            attempt(check.__name__.replace("_", " "), lambda check=check: check(world))
    finally:
        if world and not world.stop():
            failed.append("every process has ended")
    if failed:
        for log in [directory / "failures.txt", *sorted(directory.glob("*.log"))]:
            print(f"\n== {log}\n{_tail(log)}")
        print(f"\n{len(failed)} failed: {'; '.join(failed)}. The logs are in {directory.relative_to(ROOT)}.")
        return 1
    shutil.rmtree(directory)
    print(f"\nAll of it holds: {len(CHECKS) + 1} checks in {time.monotonic() - begun:.0f} s.")
    return 0


def _tail(path, lines=40):
    try:
        return "\n".join(path.read_text(errors="replace").splitlines()[-lines:])
    except OSError as error:
        return str(error)


if __name__ == "__main__":
    sys.exit(main(ROOT / sys.argv[1]))
