package conn

// Direct reports whether the connection is read and written without waiting.
func Direct(c *Conn) bool { return c.direct.ok() }

// SeesKernel reports whether what the kernel holds can be seen.
const SeesKernel = seesKernel
