"""Where earlier versions had :class:`neurocompile.vocabulary.feedback.Feedback`."""

from neurocompile.vocabulary.feedback import Feedback

__all__ = ["Feedback"]
