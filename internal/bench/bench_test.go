package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-multihome/multihome/internal/needs"
)

// TestSmoke takes every measure of every transport, for a moment. How fast anything is, is not its business.
func TestSmoke(t *testing.T) {
	needs.Netns(t)
	file := filepath.Join(t.TempDir(), "report.json")
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	var out, progress bytes.Buffer
	err := command(ctx, []string{"-rounds", "1", "-time", "100ms", "-warm", "50ms", "-idle", "10", "-json", file}, &out, &progress)
	t.Logf("%s\n%s", progress.String(), out.String())
	require.NoError(t, err)

	text, err := os.ReadFile(file)
	require.NoError(t, err)
	var rep report
	require.NoError(t, json.Unmarshal(text, &rep))
	require.Len(t, rep.Tables, len(measures))
	for i, tab := range rep.Tables {
		require.Equal(t, measures[i].key, tab.Measure)
		require.Len(t, tab.Cells, len(measures[i].stacks))
		for _, c := range tab.Cells {
			if c.Transport == "mptcp" {
				continue // a kernel need not have it
			}
			require.Empty(t, c.Failed, "%s, %s", tab.Title, c.Transport)
			require.Len(t, c.Rounds, 1)
			for _, m := range measures[i].metrics {
				x, there := c.Rounds[0][m.key]
				require.True(t, there, "%s, %s: no %s", tab.Title, c.Transport, m.key)
				if m.key == "rate" || m.key == "p50" { // others can be too little to be seen
					require.Positive(t, x, "%s, %s: %s", tab.Title, c.Transport, m.key)
				}
			}
		}
	}
	require.Len(t, rep.Ratios, len(targets))
	require.Contains(t, out.String(), "multihome beside them")
}

// A ratio is taken within a round, so a round that failed for either of both gives none.
func TestRatios(t *testing.T) {
	of := func(rate, cpu float64) figures { return figures{"rate": rate, "cpu": cpu} }
	rep := &report{Tables: []*table{{Measure: "bulk", of: measures[0], Cells: []*cell{
		{Transport: "multihome", Rounds: []figures{of(10, 4), nil, of(30, 4), of(40, 4), of(12, 4)}},
		{Transport: "tcp", Rounds: []figures{of(5, 2), of(1, 1), of(10, 1), nil, of(1, 8)}},
	}}}}
	rep.compare()
	require.Len(t, rep.Ratios, 2) // TCP, and processor time, which needs no peer
	l := rep.Ratios[0]
	require.Equal(t, "tcp", l.target.peer)
	require.Equal(t, spread{Median: 3, Least: 2, Most: 12, Rounds: 3}, l.Is)
	require.Equal(t, &spread{Median: 0.5, Least: 0.25, Most: 2, Rounds: 3}, l.ByCPU)
	require.True(t, l.Met)
	require.True(t, l.AimMet)
	require.Equal(t, "3.00 (2.00-12.00)", l.Is.format(2))
	l = rep.Ratios[1]
	require.Equal(t, spread{Median: 4, Least: 4, Most: 4, Rounds: 4}, l.Is)
	require.Nil(t, l.ByCPU)
	require.False(t, l.Met)
}

func TestSpread(t *testing.T) {
	require.Equal(t, spread{2.5, 1, 4, 4}, spreadOf([]float64{4, 1, 3, 2}))
	require.Equal(t, spread{}, spreadOf(nil))
	require.Equal(t, "-", spread{}.format(2))
	require.Equal(t, "0.00", spread{-0.001, -0.001, 0, 2}.format(2))
	require.Equal(t, "0.00 (-0.01-0.00)", spread{-0.001, -0.009, 0, 2}.format(2))
}

func TestTargets(t *testing.T) {
	least := target{must: 2, aim: 3}
	require.True(t, least.met(2, least.must))
	require.False(t, least.met(1.9, least.must))
	most := target{must: 2, aim: 1, most: true}
	require.True(t, most.met(2, most.must))
	require.False(t, most.met(2.1, most.must))
	require.Equal(t, "missed", line{}.verdict())
	require.Equal(t, "≤ 1.3", line{AtMost: true}.bound(1.3))
}

func TestArguments(t *testing.T) {
	for _, args := range [][]string{
		{"-only", "flight"}, {"-transports", "pigeon"}, {"-rounds", "0"}, {"-time", "0s"}, {"extra"}, {"-nonsense"},
	} {
		var out bytes.Buffer
		require.Error(t, command(context.Background(), args, &out, &out), "%v", args)
	}
	var out bytes.Buffer
	require.NoError(t, command(context.Background(), []string{"-h"}, &out, &out))
	require.Contains(t, out.String(), "handshakes")
}
