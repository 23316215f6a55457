package redistest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// slots is how many slots a cluster has.
const slots = 16384

// Cluster is a cluster of masters without replicas.
type Cluster struct{ Nodes []*Node }

// Node is one of a cluster.
type Node struct {
	*Server

	ID  string
	bus string // the port of the cluster's own protocol
}

// StartCluster starts a cluster of n nodes, which have equal parts of the slots. It
// needs Redis 7, and takes a minute at most. Stop it.
func StartCluster(n int) (*Cluster, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	c := &Cluster{}
	if err := c.start(ctx, n); err != nil {
		c.Stop()
		return nil, err
	}
	return c, nil
}

func (c *Cluster) start(ctx context.Context, n int) error {
	for i := range n {
		node := &Node{}
		var err error
		node.Server, err = start(func(_ *Server, port string) (args []string, err error) {
			node.bus, err = freePort()
			return []string{
				"--port", port, "--cluster-enabled", "yes", "--cluster-port", node.bus, "--cluster-node-timeout", "1000",
			}, err
		})
		if err != nil {
			return err
		}
		c.Nodes = append(c.Nodes, node)
		if err := c.join(ctx, node, i*slots/n, (i+1)*slots/n-1); err != nil {
			return err
		}
	}
	return c.await(ctx)
}

// join gives a node its slots, and introduces it to the first.
func (c *Cluster) join(ctx context.Context, node *Node, first, last int) (err error) {
	rdb := redis.NewClient(node.Options())
	defer func() { _ = rdb.Close() }()
	if node.ID, err = rdb.Do(ctx, "CLUSTER", "MYID").Text(); err != nil {
		return err
	}
	if err := rdb.ClusterAddSlotsRange(ctx, first, last).Err(); err != nil {
		return err
	}
	if len(c.Nodes) == 1 {
		return nil
	}
	host, port, err := net.SplitHostPort(c.Nodes[0].Addr)
	if err != nil {
		return err
	}
	return rdb.Do(ctx, "CLUSTER", "MEET", host, port, c.Nodes[0].bus).Err()
}

// await waits until each node knows all others, and who has which slots.
func (c *Cluster) await(ctx context.Context) error {
	for _, node := range c.Nodes {
		rdb := redis.NewClient(node.Options())
		defer func() { _ = rdb.Close() }()
		for {
			info, err := rdb.ClusterInfo(ctx).Result()
			if err == nil && strings.Contains(info, "cluster_state:ok") && strings.Contains(info, "cluster_size:"+strconv.Itoa(len(c.Nodes))) {
				break
			}
			select {
			case <-ctx.Done():
				return errors.Join(fmt.Errorf("the cluster does not come up: %s", info), err)
			case <-time.After(20 * time.Millisecond):
			}
		}
	}
	return nil
}

// Client is a client of the cluster.
func (c *Cluster) Client() *redis.ClusterClient {
	var addrs []string
	for _, node := range c.Nodes {
		addrs = append(addrs, node.Addr)
	}
	return redis.NewClusterClient(&redis.ClusterOptions{Addrs: addrs})
}

// Owner returns the node that has a key, and another one.
func (c *Cluster) Owner(ctx context.Context, key string) (owner, other *Node, err error) {
	rdb := c.Client()
	defer func() { _ = rdb.Close() }()
	master, err := rdb.MasterForKey(ctx, key)
	if err != nil {
		return nil, nil, err
	}
	for _, node := range c.Nodes {
		if node.Addr == master.Options().Addr {
			owner = node
		} else {
			other = node
		}
	}
	if owner == nil || other == nil {
		return nil, nil, errors.New("the key is with none of the nodes")
	}
	return owner, other, nil
}

// Move moves the slot of a key, with the key, as resharding does it. Each step is
// followed by between.
func (c *Cluster) Move(ctx context.Context, key string, from, to *Node, between func()) error {
	src, dst := redis.NewClient(from.Options()), redis.NewClient(to.Options())
	defer func() { _ = errors.Join(src.Close(), dst.Close()) }()
	slot, err := src.ClusterKeySlot(ctx, key).Result()
	if err != nil {
		return err
	}
	host, port, err := net.SplitHostPort(to.Addr)
	if err != nil {
		return err
	}
	for _, step := range []struct {
		at   *redis.Client
		args []any
	}{
		{dst, []any{"CLUSTER", "SETSLOT", slot, "IMPORTING", from.ID}},
		{src, []any{"CLUSTER", "SETSLOT", slot, "MIGRATING", to.ID}},
		{src, []any{"MIGRATE", host, port, key, 0, 5000}},
		{dst, []any{"CLUSTER", "SETSLOT", slot, "NODE", to.ID}},
		{src, []any{"CLUSTER", "SETSLOT", slot, "NODE", to.ID}},
	} {
		if err := step.at.Do(ctx, step.args...).Err(); err != nil {
			return fmt.Errorf("%v: %w", step.args, err)
		}
		between()
	}
	return nil
}

// Stop ends the nodes for good.
func (c *Cluster) Stop() {
	for _, node := range c.Nodes {
		node.Stop()
	}
}
