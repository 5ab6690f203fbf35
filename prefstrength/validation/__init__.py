"""Before you collect and before you believe: planning, calibration, sensitivity, comparison."""
