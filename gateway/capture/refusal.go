package capture

const logBytes = 128
