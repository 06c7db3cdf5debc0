"""Errors for what users hand in: each names the thing, what was expected, what was found, what to do."""


class MultimodalFerError(Exception):
    """Base of all errors that this package raises on purpose."""


class MediaError(MultimodalFerError):
    """A recording that cannot be read."""


class SpeechError(MultimodalFerError):
    """A speech model that cannot be had or does not fit the request."""


class SpeechUnavailableError(SpeechError):
    """A speech model that would do, but is not on this machine and cannot be fetched now."""


class WeightsError(MultimodalFerError):
    """A weights folder or bundle that is missing, incomplete or altered."""


class ConfigError(MultimodalFerError):
    """A recipe's configuration file or override that does not fit."""


class DataError(MultimodalFerError):
    """A corpus on disk that is not laid out as its publisher lays it out."""


class OutputError(MultimodalFerError):
    """A folder or file that cannot be written."""


class HubError(MultimodalFerError):
    """A model hub that refuses something, or whose answer cannot be used."""


class HubUnreachableError(HubError):
    """A model hub that cannot be reached now."""
