package command

import "time"

// ReleaseFor is how long a ReleaseUse can be confirmed, by the cluster's clock.
const ReleaseFor = 24 * time.Hour
