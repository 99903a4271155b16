"""ModelScope, through its client modelscope_hub, which goes on with partial files and compares hashes by itself."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path

import requests
from modelscope_hub import HubApi, errors
from modelscope_hub.config import HubConfig

from launcher.errors import FAILED, ServeError
from launcher.models.hub import MODELSCOPE, Passing, answered, withheld
from launcher.models.repository import File, Repository

BRANCH = "master"
PARTIAL = ".incomplete"


class ModelScope:
    """See `launcher.models.hub.Hub`."""

    def __init__(self) -> None:
        """The client's log is kept quiet: what goes on is told by us."""
        logging.getLogger("modelscope_hub").setLevel(logging.CRITICAL)
        self._config = HubConfig()
        self._api = HubApi(config=self._config)
        self.address = str(self._config.endpoint)

    def look(self, name: str, revision: str | None) -> Repository:
        """See `Hub`. The client keeps a repository under the name of its branch: there is no commit to pin."""
        branch = revision or BRANCH
        known = errors.HubError
        with (
            self._told(name, revision),
            answered(self.address, "MODELSCOPE_API_TOKEN", known, requests.TooManyRedirects),
        ):
            address = self._api.resolve_endpoint_for_read(name)
            if address != self.address:  # its other site has it
                self._api, self.address = HubApi(endpoint=address), address
            listed = self._api.list_repo_files(name, "model", revision=branch)
            files = tuple(File(each.path, each.size, each.sha256) for each in listed if not each.is_dir)
        return Repository(MODELSCOPE, name, branch, branch, files)

    def place(self, repository: Repository, to: Path | None) -> Path:
        """See `Hub`: where the client's releases since 1.38 keep a model, or older ones have left it."""
        if to:
            return to
        base = self._config.cache_dir
        owner, name = repository.name.split("/")
        older = [folder / "models" / owner / name.replace(".", "___") for folder in (base, base / "hub")]
        newer = base / "models" / f"{owner}--{name}" / "snapshots" / repository.commit
        return next((folder for folder in older if folder.is_dir() and any(folder.iterdir())), newer)

    def fetch(self, repository: Repository, file: File, to: Path | None, *, anew: bool = False) -> None:
        """See `Hub`."""
        with self._told(repository.name, None, file):
            self._api.download_file(
                repository.name,
                "model",
                file.path,
                revision=repository.revision,
                local_dir=to,
                force=anew,
                expected_sha256=file.sha256,
                file_size=file.size_bytes,
            )

    def partial_bytes(self, repository: Repository, file: File, to: Path | None) -> int:
        """See `Hub`."""
        place = self.place(repository, to) / file.path
        with contextlib.suppress(OSError):
            return min(file.size_bytes, place.with_name(place.name + PARTIAL).stat().st_size)
        return 0

    def settle(self, repository: Repository, to: Path | None) -> None:
        """See `Hub`: partial files lie under their names, so none is left."""

    @contextlib.contextmanager
    def _told(self, name: str, revision: str | None, file: File | None = None) -> Iterator[None]:
        try:
            yield
        except errors.NotExistError as error:
            if file:
                raise withheld(file, name, error.status_code, self.address) from None
            what = f"revision {revision!r} or no model {name!r}" if revision else f"model {name!r}"
            raise ServeError(
                f"ModelScope has no {what} that is open to you",
                where=self.address,
                fix="check the spelling; a private model needs a token of yours in MODELSCOPE_API_TOKEN",
            ) from None
        except (errors.AuthenticationError, errors.PermissionDeniedError) as error:
            if error.status_code == 401 and self._config.token:  # noqa: PLR2004
                raise ServeError(
                    f"ModelScope does not accept the token that is set, for model {name!r} (HTTP 401)",
                    where=self.address,
                    fix="set MODELSCOPE_API_TOKEN to a valid token of yours, or unset it",
                ) from None
            raise ServeError(
                f"ModelScope does not give you model {name!r} (HTTP {error.status_code})",
                where=self.address,
                fix="accept its terms on the model's page, then set MODELSCOPE_API_TOKEN to a token of yours",
            ) from None
        except errors.FileIntegrityError as error:
            raise Passing(f"is altered: {error.message}", altered=True) from None
        except errors.APIError as error:
            if not error.retryable:
                raise ServeError(
                    f"ModelScope refused model {name!r}: HTTP {error.status_code}", where=self.address, code=FAILED
                ) from None
            wait_s = getattr(error, "retry_after", None)
            raise Passing(f"HTTP {error.status_code}", wait_s=wait_s) from None
        except (errors.NetworkError, requests.RequestException) as error:
            raise Passing(type(error).__name__) from None
        except errors.CacheError as error:
            raise ServeError(error.message, code=FAILED) from None
