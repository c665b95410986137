"""OCI seccomp profiles: what container engines and runtimes are given, in and out."""

from __future__ import annotations

from unotify.policy.oci.composing import USUAL_CAPABILITIES, Base, runtime_profile
from unotify.policy.oci.exporting import export_profile
from unotify.policy.oci.importing import Imported, import_profile, read_profile

__all__ = [
    "USUAL_CAPABILITIES",
    "Base",
    "Imported",
    "export_profile",
    "import_profile",
    "read_profile",
    "runtime_profile",
]
