"""`--change` instructions on an image's config."""

from __future__ import annotations

from typing import Any

import pytest

from tiffin.errors import UsageError
from tiffin.images.changes import apply_changes


@pytest.mark.parametrize(
    ("change", "field", "value"),
    [
        ('CMD ["a", "b c"]', "Cmd", ["a", "b c"]),
        ("cmd a b", "Cmd", ["/bin/sh", "-c", "a b"]),
        ("CMD [a", "Cmd", ["/bin/sh", "-c", "[a"]),
        ("CMD []", "Cmd", []),
        ('ENTRYPOINT ["/init"]', "Entrypoint", ["/init"]),
        ("ENTRYPOINT exec x", "Entrypoint", ["/bin/sh", "-c", "exec x"]),
        ("ENV A=1 B='two words' C=\"x\\\"y\" D=a\\ b", "Env", ["A=1", "B=two words", 'C=x"y', "D=a b"]),
        ("ENV A the rest of the line", "Env", ["A=the rest of the line"]),
        ("ENV A=", "Env", ["A="]),
        ("LABEL a=b com.example.x='y z'", "Labels", {"a": "b", "com.example.x": "y z"}),
        ("EXPOSE 80 53/udp 8000-8002/TCP", "ExposedPorts",
         {"80/tcp": {}, "53/udp": {}, "8000/tcp": {}, "8001/tcp": {}, "8002/tcp": {}}),
        ("USER alice:users", "User", "alice:users"),
        ("WORKDIR /srv/../app", "WorkingDir", "/app"),
        ("WORKDIR app", "WorkingDir", "/app"),
        ('VOLUME ["/a b", "/c"]', "Volumes", {"/a b": {}, "/c": {}}),
        ("VOLUME /a /b", "Volumes", {"/a": {}, "/b": {}}),
        ("STOPSIGNAL SIGQUIT", "StopSignal", "SIGQUIT"),
        ("STOPSIGNAL 9", "StopSignal", "9"),
        ("STOPSIGNAL RTMIN+3", "StopSignal", "RTMIN+3"),
        ("ONBUILD RUN make", "OnBuild", ["RUN make"]),
        ("HEALTHCHECK NONE", "Healthcheck", {"Test": ["NONE"]}),
        ("HEALTHCHECK --interval=1m30s --timeout=2.5s --retries=3 CMD curl -f /", "Healthcheck",
         {"Test": ["CMD-SHELL", "curl -f /"], "Interval": 90 * 10**9, "Timeout": 2_500_000_000, "Retries": 3}),
        ('HEALTHCHECK --start-period=5s CMD ["probe"]', "Healthcheck",
         {"Test": ["CMD", "probe"], "StartPeriod": 5 * 10**9}),
    ],
)  # fmt: skip
def test_change(change: str, field: str, value: Any) -> None:
    assert apply_changes({}, [change]) == {field: value}


def test_a_new_entry_point_drops_the_command_of_the_base_only() -> None:
    changed = apply_changes({"Cmd": ["sh"]}, ['CMD ["mine"]', 'ENTRYPOINT ["e"]'])
    assert changed == {"Cmd": ["mine"], "Entrypoint": ["e"]}
    assert apply_changes({"Cmd": ["sh"]}, ['ENTRYPOINT ["e"]']) == {"Entrypoint": ["e"]}


def test_changes_add_up() -> None:
    base = {"Env": ["A=0", "B=0"], "Cmd": ["sh"], "Labels": {"x": "1"}, "WorkingDir": "/srv"}
    changed = apply_changes(base, ["ENV A=1 C=2", "LABEL y=2", "WORKDIR www", 'ENTRYPOINT ["e"]', "ONBUILD USER x"])
    assert changed == {
        "Env": ["A=1", "B=0", "C=2"],
        "Labels": {"x": "1", "y": "2"},
        "WorkingDir": "/srv/www",
        "Entrypoint": ["e"],
        "OnBuild": ["USER x"],
    }
    assert base["Cmd"] == ["sh"], "the config given is not touched"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("RUN make", ("--change knows no instruction 'RUN' (it knows CMD, ENTRYPOINT, ENV, EXPOSE, HEALTHCHECK, LABEL, "
                     "ONBUILD, STOPSIGNAL, USER, VOLUME, WORKDIR)")),
        ("", ("--change knows no instruction '' (it knows CMD, ENTRYPOINT, ENV, EXPOSE, HEALTHCHECK, LABEL, "
             "ONBUILD, STOPSIGNAL, USER, VOLUME, WORKDIR)")),
        ("CMD", "--change CMD needs an argument"),
        ("ENV A", "--change ENV: 'A' must be of the form key=value"),
        ("ENV A=1 B", "--change ENV: 'B' must be of the form key=value"),
        ("ENV =1", "--change ENV: '=1' must be of the form key=value"),
        ("LABEL a='b", "--change LABEL: unexpected end of \"a='b\": a quote is not closed"),
        ("EXPOSE 0", "--change EXPOSE: '0' is not a port or range of ports from 1 to 65535"),
        ("EXPOSE 70000", "--change EXPOSE: '70000' is not a port or range of ports from 1 to 65535"),
        ("EXPOSE http", "--change EXPOSE: 'http' is not a port or range of ports from 1 to 65535"),
        ("EXPOSE 80/icmp", "--change EXPOSE: '80/icmp' has the unknown protocol 'icmp'"),
        ("EXPOSE 9-8", "--change EXPOSE: the range '9-8' runs backwards"),
        ("USER a b", "--change USER takes exactly one argument, not 'a b'"),
        ("VOLUME [\"\"]", "--change VOLUME: a volume's path cannot be empty"),
        ("STOPSIGNAL NOPE", "--change STOPSIGNAL: invalid signal: NOPE"),
        ("ONBUILD FROM x", "--change ONBUILD: FROM isn't allowed as an ONBUILD trigger"),
        ("ONBUILD ONBUILD RUN x", "--change ONBUILD: ONBUILD isn't allowed as an ONBUILD trigger"),
        ("HEALTHCHECK CMD", "--change HEALTHCHECK: missing command after CMD"),
        ("HEALTHCHECK RUN x", "--change HEALTHCHECK: unknown type 'RUN' (write CMD and a command, or NONE)"),
        ("HEALTHCHECK NONE x", "--change HEALTHCHECK: NONE takes no arguments"),
        ("HEALTHCHECK --interval=5 CMD x",
         "--change HEALTHCHECK: --interval must be a duration like 30s or 1m30s, not '5'"),
        ("HEALTHCHECK --timeout=1us CMD x",
         "--change HEALTHCHECK: --timeout must be a duration of at least 1ms, not '1us'"),
        ("HEALTHCHECK --retries=0 CMD x",
         "--change HEALTHCHECK: --retries must be a number of at least 1, not '0'"),
        ("HEALTHCHECK --often CMD x", "--change HEALTHCHECK: the option --often needs a value: --often=…"),
        ("HEALTHCHECK --often=x CMD x", "--change HEALTHCHECK: unknown option --often"),
    ],
)  # fmt: skip
def test_refused(change: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        apply_changes({}, [change])
    assert str(caught.value) == message
