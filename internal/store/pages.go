package store

import (
	"encoding/binary"
	"fmt"
)

// objectPages stores each page under its number in space Sheets, and the number
// of pages under "". Numbers are big-endian, so that pages are stored in order.
type objectPages struct{ o *Object }

// Pages returns the pages of the object's SQLite database, which are part of
// its transaction.
func (o *Object) Pages() Pages { return objectPages{o} }

func pageKey(n uint32) string { return string(binary.BigEndian.AppendUint32(nil, n)) }

func (p objectPages) ReadPage(n uint32, buf []byte) (found bool, err error) {
	page, found, err := p.o.Get(Sheets, pageKey(n))
	if err != nil || !found {
		return false, err
	}
	if len(page) != len(buf) {
		return false, fmt.Errorf(
			"%w: page %d of object %x has %d bytes, not %d", ErrCorrupt, n, p.o.id.Base, len(page), len(buf),
		)
	}
	copy(buf, page)
	return true, nil
}

func (p objectPages) WritePage(n uint32, data []byte) error {
	p.o.Put(Sheets, pageKey(n), data)
	return nil
}

func (p objectPages) Count() (uint32, error) {
	value, found, err := p.o.Get(Sheets, "")
	if err != nil || !found {
		return 0, err
	}
	if len(value) != 4 {
		return 0, fmt.Errorf("%w: count of pages of object %x", ErrCorrupt, p.o.id.Base)
	}
	return binary.BigEndian.Uint32(value), nil
}

func (p objectPages) SetCount(n uint32) error {
	count, err := p.Count()
	if err != nil {
		return err
	}
	if n < count {
		for e, err := range p.o.Scan(Sheets, Range{Lower: pageKey(n), Unbounded: true}) {
			if err != nil {
				return err
			}
			p.o.Delete(Sheets, e.Key)
		}
	}
	if n == 0 {
		p.o.Delete(Sheets, "")
		return nil
	}
	p.o.Put(Sheets, "", binary.BigEndian.AppendUint32(nil, n))
	return nil
}
