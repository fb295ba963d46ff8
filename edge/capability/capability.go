// Package capability makes a process that isn't root use the capabilities that
// it was given.
//
// A container runtime gives them to the first program of a container, and the
// kernel takes them away again when that program is started by somebody who isn't
// root, unless the program's file permits them (capabilities(7)). The gateway's
// file in its image permits, but doesn't demand, those that any configuration
// needs: a file that demanded them couldn't be started without. So they come as
// permitted, not as effective, and the program has to take them itself.
package capability

// Raise makes all permitted capabilities of the process effective. It does
// nothing where they are: as root, or with systemd's AmbientCapabilities.
func Raise() error { return raise() }
