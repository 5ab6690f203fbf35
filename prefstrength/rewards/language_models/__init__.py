"""Language models as rewards: classifiers, value heads, judges, implicit rewards."""
