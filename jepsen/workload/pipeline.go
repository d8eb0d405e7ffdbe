package workload

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"github.com/lockstep-dev/lockstep/client"
	"github.com/lockstep-dev/lockstep/jepsen/check"
)

// Pipeline is a recorded execution in WfFormat (wfcommons.org): its name, and what each of its tasks waits for, as its
// file has it.
type Pipeline struct {
	Name, Path string
	Needs      map[string][]string
}

// Pipelines reads those of a directory.
func Pipelines(dir string) (out []Pipeline, err error) {
	paths, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil {
		return nil, err
	}
	for _, path := range paths {
		p := Pipeline{Name: fmt.Sprint("pipeline", len(out)), Path: path, Needs: map[string][]string{}}
		b, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		var file struct {
			Workflow struct {
				Specification struct {
					Tasks []struct {
						ID                string
						Parents, Children []string
					}
				}
			}
		}
		if err := json.Unmarshal(b, &file); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		for _, task := range file.Workflow.Specification.Tasks {
			p.Needs[task.ID] = append(p.Needs[task.ID], task.Parents...)
			for _, child := range task.Children {
				p.Needs[child] = append(p.Needs[child], task.ID)
			}
		}
		if len(p.Needs) == 0 {
			return nil, fmt.Errorf("%s has no tasks", path)
		}
		out = append(out, p)
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("%s has no executions in WfFormat", dir)
	}
	return out, nil
}

// Replay starts one of the pipelines after the other, for the workers' queue, until the context ends, while no more than most of them run.
func (r *Recorder) Replay(ctx context.Context, c *client.Client, pipelines []Pipeline, lane int, seed uint64, every time.Duration, most int) {
	chance := rand.New(rand.NewPCG(seed, uint64(7000+lane)))
	running := backlog{most: most}
	for n := 0; ctx.Err() == nil; n++ {
		p := pipelines[chance.IntN(len(pipelines))]
		id := fmt.Sprintf("%s-%d-%d", p.Name, lane, n)
		if !running.take(ctx, id, ends(c)) {
			return
		}
		calling, cancel := call(ctx)
		_ = r.Do(check.Op{Kind: "start", Instance: id}, func(*check.Op) error {
			_, err := c.Start(calling, p.Name, id, nil, client.StartOptions{})
			return err
		}) // its outcome is on record
		cancel()
		pause(ctx, every)
	}
}
