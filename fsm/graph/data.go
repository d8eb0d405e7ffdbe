package graph

// Data is JSON that expressions read. The first that does decodes it, and those behind find it decoded: expressions make values, and
// change none. It may be part of many views, but of one goroutine's, and of one graph's.
type Data struct {
	json    []byte
	value   any
	err     error
	decoded bool
}

// JSON are data; none at all are null.
func JSON(json []byte) *Data { return &Data{json: json} }

// Bytes are the data as they were given.
func (d *Data) Bytes() []byte {
	if d == nil {
		return nil
	}
	return d.json
}

// decode reads the data, and has them fit a shape, which is the same each time; none leaves them as they are.
func (d *Data) decode(w *Work, fits *shape) (any, error) {
	if d == nil {
		return nil, nil
	}
	if !d.decoded {
		d.decoded = true
		w.decoded(len(d.json))
		if d.value, d.err = decodePayload(d.json); d.err == nil {
			d.value = fits.fit(d.value)
		}
	}
	return d.value, d.err
}

// Work counts what evaluations did. It is the same wherever the same is evaluated in the same order, on any machine.
type Work struct {
	Evaluations      int
	Decoded, Encoded int    // bytes
	Cost             uint64 // in CEL's units
}

func (w *Work) decoded(bytes int) {
	if w != nil {
		w.Decoded += bytes
	}
}

func (w *Work) encoded(bytes int) {
	if w != nil {
		w.Encoded += bytes
	}
}

func (w *Work) evaluated(cost uint64) {
	if w != nil {
		w.Evaluations++
		w.Cost += cost
	}
}
