"""Errors in the input of users: messages name the file, what was expected and found, and what to do."""


class MultimodalFerError(Exception):
    """Base class of all errors of this package."""


class MediaError(MultimodalFerError):
    """A recording that cannot be read."""


class SpeechError(MultimodalFerError):
    """A speech model that cannot be loaded or does not fit the request."""


class SpeechUnavailableError(SpeechError):
    """A speech model that is not installed and cannot be downloaded now."""


class WeightsError(MultimodalFerError):
    """A weights folder or bundle that is missing, incomplete or altered."""


class ConfigError(MultimodalFerError):
    """A configuration file or override of a recipe that is invalid."""


class DataError(MultimodalFerError):
    """A corpus whose files differ from its published layout."""


class OutputError(MultimodalFerError):
    """A folder or file that cannot be written."""


class HubError(MultimodalFerError):
    """A model hub that refuses a request, or whose answer cannot be used."""


class HubUnreachableError(HubError):
    """A model hub that cannot be reached now."""
