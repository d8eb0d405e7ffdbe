package graph

import (
	"cmp"
	"strconv"
	"strings"
)

// Problem is one thing that is wrong with a definition. Path says where, as At and AtIndex spell it;
// Offset counts bytes into the string that stands there.
type Problem struct {
	Path        string
	Key         bool // it is about the key, not the value
	Offset      int
	Message     string
	Unsupported bool // a construct of the language that this version does not run
}

func (p Problem) String() string { return p.Path + ": " + p.Message }

// maxProblems is how many problems are worth showing at once.
const maxProblems = 10

// At is the path of a key below a path. It is unambiguous for every key.
func At(path, key string) string {
	if !isIdentifier(key) {
		return path + "[" + strconv.Quote(key) + "]"
	}
	if path == "" {
		return key
	}
	return path + "." + key
}

// AtIndex is the path of a list's item.
func AtIndex(path string, i int) string { return path + "[" + strconv.Itoa(i) + "]" }

func isIdentifier(s string) bool {
	for i := range len(s) {
		c := s[i]
		letter := c == '_' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
		if !letter && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return s != ""
}

// closest returns the candidate that is a likely misspelling of word.
func closest(word string, candidates []string) (string, bool) {
	best, distance := "", 3
	if len(word) > 64 {
		return "", false
	}
	for _, c := range candidates {
		if d := editDistance(strings.ToLower(word), strings.ToLower(c), distance); d < distance && d < len(c) {
			best, distance = c, d
		}
	}
	return best, best != ""
}

// editDistance is Levenshtein's, or some number of at least limit.
func editDistance(a, b string, limit int) int {
	if max(len(a), len(b))-min(len(a), len(b)) >= limit {
		return limit
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, diagonal+1)
		}
	}
	return row[len(b)]
}

// suggest ends a sentence with the likely spelling, or with otherwise.
func suggest(word string, candidates []string, otherwise string) string {
	if c, ok := closest(word, candidates); ok {
		return "; did you mean " + strconv.Quote(c) + "?"
	}
	return cmp.Or(otherwise, "")
}
