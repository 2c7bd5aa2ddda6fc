"""Commands that look and change nothing: status, events, interviews, deliveries, attempts."""

from __future__ import annotations

from connector.cli import options as o


def status(config: o.ConfigOption = None, as_json: o.JsonOption = False) -> None:
    """Show how things stand, and what to do about it."""
    from connector.cli.standing import show_status

    show_status(config, as_json=as_json)


def events(
    *,
    config: o.ConfigOption = None,
    name: o.NameOption = None,
    kind: o.KindOption = None,
    interview: o.InterviewOption = None,
    position: o.PositionOption = None,
    stage: o.StageOption = None,
    since: o.SinceOption = None,
    until: o.UntilOption = None,
    limit: o.LimitOption = 50,
    as_json: o.JsonOption = False,
) -> None:
    """List events, the newest first. --since and --until mean their receipt."""
    from connector.cli import listings

    asked = listings.Asked(config, since, until, limit, as_json)
    listings.show(
        listings.EVENTS, asked, name=name, kind=kind, interview=interview, position=position, stage=stage
    )  # fmt: skip


def interviews(
    *,
    config: o.ConfigOption = None,
    interview: o.InterviewOption = None,
    position: o.PositionOption = None,
    stage: o.StageOption = None,
    sink: o.SinkOption = None,
    since: o.SinceOption = None,
    until: o.UntilOption = None,
    limit: o.LimitOption = 50,
    as_json: o.JsonOption = False,
) -> None:
    """List interviews as they are now, the last changed first.

    --since and --until mean the newest event, --sink the state sinks that show the interview.
    """
    from connector.cli import listings

    asked = listings.Asked(config, since, until, limit, as_json)
    listings.show(listings.INTERVIEWS, asked, interview=interview, position=position, stage=stage, sink=sink)


def deliveries(
    *,
    config: o.ConfigOption = None,
    sink: o.SinkOption = None,
    state: o.StateOption = None,
    interview: o.InterviewOption = None,
    event: o.EventOption = None,
    name: o.NameOption = None,
    position: o.PositionOption = None,
    stage: o.StageOption = None,
    since: o.SinceOption = None,
    until: o.UntilOption = None,
    limit: o.LimitOption = 50,
    as_json: o.JsonOption = False,
) -> None:
    """List deliveries, the newest first. --since and --until mean the receipt, or the last replay."""
    from connector.cli import listings

    listings.show(
        listings.DELIVERIES,
        listings.Asked(config, since, until, limit, as_json),
        sink=sink,
        states=listings.states_of(state),
        interview=interview,
        event=event,
        name=name,
        position=position,
        stage=stage,
    )


def attempts(
    *,
    config: o.ConfigOption = None,
    sink: o.SinkOption = None,
    since: o.SinceOption = None,
    until: o.UntilOption = None,
    limit: o.LimitOption = 50,
    as_json: o.JsonOption = False,
) -> None:
    """List attempts, the newest first.

    One line per batch and outcome; what went well at once is only counted.
    """
    from connector.cli import listings

    listings.show(listings.ATTEMPTS, listings.Asked(config, since, until, limit, as_json), sink=sink)
