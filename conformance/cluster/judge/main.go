// Command judge sends the same requests to kube-apiserver and to a host, and compares the
// answers. It fails if one differs and the difference is not in the list of accepted ones.
package main

import (
	"flag"
	"fmt"
	"os"
)

// Options are the judge's arguments.
type Options struct {
	Cluster    string // The program with the parts of the control plane.
	Galleria   string // The host's program.
	Components string // The folder with the components that pods name as images.
	Tables     string // The folder with the tables.
	Work       string // The folder for the state and logs of both.
	Only       string // Compares only the cases whose names contain it.
	Show       int    // How many differences to print.
}

func main() {
	var options Options
	flag.StringVar(&options.Cluster, "cluster", "", "the program of the control plane")
	flag.StringVar(&options.Galleria, "galleria", "", "the host's program")
	flag.StringVar(&options.Components, "components", "", "the folder with components")
	flag.StringVar(&options.Tables, "tables", "", "the folder with the tables")
	flag.StringVar(&options.Work, "work", "", "the folder for state and logs")
	flag.StringVar(&options.Only, "only", "", "a part of the names of the cases to compare")
	flag.IntVar(&options.Show, "show", 20, "how many differences to print")
	flag.Parse()
	if err := run(options); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(options Options) error {
	cases, err := readTables(options.Tables)
	if err != nil {
		return err
	}
	accepted, err := readAccepted(options.Tables)
	if err != nil {
		return err
	}
	cases = selected(cases, options.Only)
	if err := os.RemoveAll(options.Work); err != nil {
		return err
	}
	var processes Processes
	defer processes.Stop()
	cluster, err := startCluster(&processes, options)
	if err != nil {
		return err
	}
	host, err := startHost(&processes, options)
	if err != nil {
		return err
	}
	differences := compareAll(cluster, host, cases)
	return report(cases, differences, accepted, options)
}
