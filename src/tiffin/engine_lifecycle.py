"""The engine's use cases on health, restarts and boot; `Engine` inherits them."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from tiffin.containers.boot import BootResult
    from tiffin.containers.result import Result
    from tiffin.model.container import Container, ContainerState
    from tiffin.parts import Parts
    from tiffin.state.health import Health


class Lifecycle:
    """Health checks, and what is started without being asked for."""

    _parts: Parts

    def health(self, container: str) -> Health | None:
        """What the checks of a container's present or last run found; None without checks. NotFoundError."""
        from tiffin.containers import health
        from tiffin.state import containers as records
        from tiffin.state.health import read_health

        found = records.get(self._parts.database, container)
        check = found.config.health
        if check is None or not health.checked(check):
            return None
        return read_health(self._parts.paths, found.id, health.with_defaults(check).timeout_ns)

    def healthcheck(self, container: str) -> Result:
        """Run a container's health check now, beside those of its monitor, and return what it wrote.

        Exit code 0 is healthy, -1 that it took longer than its timeout. It does not change what `health` says.
        ConflictError when the container does not run, UsageError when it has no check.
        """
        from tiffin.containers import health
        from tiffin.state import containers as records

        return health.run_now(self._parts, records.get(self._parts.database, container), self.exec)  # type: ignore[attr-defined]

    def start_boot(self) -> list[BootResult]:
        """Start, after the host has come up, what restarts always or unless the user stopped it, oldest first.

        What an earlier boot left is cleared away. Returns those that were to be started, each with its error if that
        failed; calling it once more is harmless.
        """
        from tiffin.containers import boot

        return boot.start_boot(self._parts)

    def generate_systemd(
        self,
        container: str,
        *,
        restart: str = "on-failure",
        stop_timeout_s: int | None = None,
        new: bool = False,
    ) -> tuple[str, str]:
        """Name and text of a systemd unit (systemd.service(5)) that starts and stops one container.

        ConflictError when it has a restart policy of its own, UsageError for a `restart` that systemd does not know.
        """
        from tiffin.state import containers as records
        from tiffin.system import units

        found = records.get(self._parts.database, container)
        return units.container_unit(self._parts.paths, found, restart, stop_timeout_s, new)

    def generate_systemd_boot(self) -> tuple[str, str]:
        """Name and text of the systemd unit that starts containers at boot and stops all at shutdown."""
        from tiffin.system import units

        return units.boot_unit(self._parts.paths)

    def _with_health(self, container: Container, state: ContainerState) -> ContainerState:
        if container.config.health is None or state.status == "created":
            return state
        from tiffin.state.health import of_run, read_status

        return state.replace(health=of_run(read_status(self._parts.paths, container.id), state.status))
