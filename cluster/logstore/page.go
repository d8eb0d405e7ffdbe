package logstore

import (
	"bytes"
	"fmt"
	"slices"
)

// element is what a page holds: a key with a value, or with the page that has the keys from it on.
type element struct {
	key, value []byte
	flags      uint32
	page       uint64
}

// walkBucket calls fn for each key of a bucket in order, and stops at its error.
func (f *file) walkBucket(bucket []byte, fn func(key, value []byte) error) error {
	each := func(e element) error {
		if e.flags != 0 {
			return fmt.Errorf("%q is a bucket within a bucket", e.key)
		}
		return fn(e.key, e.value)
	}
	root, inline := order.Uint64(bucket), bucket[bucketHead:]
	if root != 0 {
		if len(inline) != 0 {
			return fmt.Errorf("a bucket has the root page %d and one inline", root)
		}
		return f.walk(root, nil, nil, each)
	}
	if len(inline) < pageHead || order.Uint64(inline) != 0 || order.Uint16(inline[8:]) != leafPage || order.Uint32(inline[12:]) != 0 {
		return fmt.Errorf("an inline bucket has no page")
	}
	elements, size, err := elementsOf(inline)
	if err == nil && size != len(inline) {
		err = fmt.Errorf("an inline page is %d bytes long, its elements %d", len(inline), size)
	}
	if err != nil {
		return err
	}
	return eachWithin(elements, nil, nil, each)
}

// walk calls fn for each element of the leaves under a page. Their keys ascend, from lo on and below hi, where those
// are not nil.
func (f *file) walk(id uint64, lo, hi []byte, fn func(element) error) error {
	page, err := f.page(id)
	if err != nil {
		return err
	}
	elements, size, err := elementsOf(page)
	if err == nil && (size+int(f.pageSize)-1)/int(f.pageSize) != len(page)/int(f.pageSize) {
		err = fmt.Errorf("its elements have %d bytes, it has %d", size, len(page))
	}
	if err != nil {
		return fmt.Errorf("page %d: %w", id, err)
	}
	if order.Uint16(page[8:]) == leafPage {
		err = eachWithin(elements, lo, hi, fn)
	} else {
		err = f.walkBranch(elements, lo, hi, fn)
	}
	if err != nil && err != errStop {
		return fmt.Errorf("page %d: %w", id, err)
	}
	return err
}

func (f *file) walkBranch(elements []element, lo, hi []byte, fn func(element) error) error {
	if len(elements) == 0 {
		return fmt.Errorf("a branch without elements")
	}
	i := 0
	return eachWithin(elements, lo, hi, func(e element) error {
		i++
		end := hi
		if i < len(elements) {
			end = elements[i].key
		}
		return f.walk(e.page, e.key, end, fn)
	})
}

// eachWithin calls fn for elements whose keys must ascend within bounds.
func eachWithin(elements []element, lo, hi []byte, fn func(element) error) error {
	for i, e := range elements {
		if i > 0 && bytes.Compare(e.key, elements[i-1].key) <= 0 || bytes.Compare(e.key, lo) < 0 || hi != nil && bytes.Compare(e.key, hi) >= 0 {
			return fmt.Errorf("the key %x is out of order", e.key)
		}
		if err := fn(e); err != nil {
			return err
		}
	}
	return nil
}

// page reads a branch or a leaf with its overflow, to which nothing else may point. A leaf's memory is used again.
func (f *file) page(id uint64) ([]byte, error) {
	if id < 2 || id >= f.pages {
		return nil, fmt.Errorf("page %d of %d does not exist", id, f.pages)
	}
	page := slices.Grow(f.leaf[:0], int(f.pageSize))[:f.pageSize]
	if err := f.readAt(page, int64(id)*f.pageSize); err != nil {
		return nil, err
	}
	overflow := uint64(order.Uint32(page[12:]))
	switch flags := order.Uint16(page[8:]); {
	case order.Uint64(page) != id:
		return nil, fmt.Errorf("page %d says that it is page %d", id, order.Uint64(page))
	case flags != branchPage && flags != leafPage:
		return nil, fmt.Errorf("page %d is neither branch nor leaf, but %#x", id, flags)
	case overflow >= f.pages-id:
		return nil, fmt.Errorf("page %d goes on beyond page %d", id, f.pages)
	}
	for p := id; p <= id+overflow; p++ {
		if f.seen[p] {
			return nil, fmt.Errorf("page %d has two places", p)
		}
		f.seen[p] = true
	}
	if rest := int(overflow) * int(f.pageSize); rest > 0 {
		page = slices.Grow(page, rest)[:len(page)+rest]
		if err := f.readAt(page[f.pageSize:], (int64(id)+1)*f.pageSize); err != nil {
			return nil, err
		}
	}
	if f.leaf = page; order.Uint16(page[8:]) == branchPage {
		f.leaf = nil // it is needed while its leaves are read
	}
	return page, nil
}

// elementsOf takes a page apart, and returns how many of its bytes are used. The elements lie densely, so that a wrong
// count, length or position shows.
func elementsOf(page []byte) ([]element, int, error) {
	count, leaf := int(order.Uint16(page[10:])), order.Uint16(page[8:]) == leafPage
	at := pageHead + count*elementSize
	if at > len(page) {
		return nil, 0, fmt.Errorf("%d elements do not fit", count)
	}
	out := make([]element, count)
	for i := range out {
		begin := pageHead + i*elementSize
		e := page[begin : begin+elementSize]
		var position, keySize, valueSize int
		if leaf {
			out[i].flags = order.Uint32(e)
			position, keySize, valueSize = int(order.Uint32(e[4:])), int(order.Uint32(e[8:])), int(order.Uint32(e[12:]))
		} else {
			out[i].page = order.Uint64(e[8:])
			position, keySize = int(order.Uint32(e)), int(order.Uint32(e[4:]))
		}
		if begin+position != at || keySize == 0 || keySize > len(page)-at || valueSize > len(page)-at-keySize {
			return nil, 0, fmt.Errorf("element %d is not where it should be", i)
		}
		out[i].key, out[i].value = page[at:at+keySize], page[at+keySize:at+keySize+valueSize]
		at += keySize + valueSize
	}
	return out, at, nil
}
