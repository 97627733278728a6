"""Arrays -> numbers: scores with intervals, calibration, experts, floors."""
