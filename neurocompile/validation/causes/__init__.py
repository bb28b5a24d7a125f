"""Why two executors differ: the first layer whose inputs agree and whose outputs do not, and what explains it."""

from neurocompile.validation.causes.diagnosis import Evidence, diagnose
from neurocompile.validation.causes.examining import Examine, IntegersExamined, RealsExamined
from neurocompile.validation.causes.rules import IntegerRule, RealRule

__all__ = ["Evidence", "Examine", "IntegerRule", "IntegersExamined", "RealRule", "RealsExamined", "diagnose"]
