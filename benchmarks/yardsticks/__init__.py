"""Core counts that others have published, or that their own tools give, beside ours."""
