"""Before the first step: rules that refuse a run that cannot succeed, and say what else looks wrong."""
