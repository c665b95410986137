"""The engine: handlers in, programs under supervision out."""

from unotify.supervisor.addons import on, verb
from unotify.supervisor.counting import Counted
from unotify.supervisor.holds import Held
from unotify.supervisor.instruments import Instrument
from unotify.supervisor.quotas import Quota
from unotify.supervisor.statistics import Statistics
from unotify.supervisor.supervisor import Supervisor
from unotify.supervisor.target import Target

__all__ = [
    "Counted",
    "Held",
    "Instrument",
    "Quota",
    "Statistics",
    "Supervisor",
    "Target",
    "on",
    "verb",
]
