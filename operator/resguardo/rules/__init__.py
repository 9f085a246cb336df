"""Pure decisions: functions of facts, with the clock among the arguments and a reason beside each verdict.

May import api only.
"""
