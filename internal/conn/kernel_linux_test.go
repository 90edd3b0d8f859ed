package conn

func replaceKernel(c *Conn) *kernel {
	k := &kernel{RawConn: c.direct.raw}
	c.direct.raw = k
	return k
}
