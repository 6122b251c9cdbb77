package main

import (
	"fmt"
	"net/url"
	"time"

	"go.etcd.io/etcd/server/v3/embed"
)

// etcd serves from a folder on a client and a peer address, its arguments, until it fails.
func etcd(arguments []string) error {
	if len(arguments) != 3 {
		return fmt.Errorf("usage: cluster etcd FOLDER CLIENT-URL PEER-URL")
	}
	client, err := url.Parse(arguments[1])
	if err != nil {
		return err
	}
	peer, err := url.Parse(arguments[2])
	if err != nil {
		return err
	}
	config := embed.NewConfig()
	config.Dir = arguments[0]
	config.ListenClientUrls, config.AdvertiseClientUrls = []url.URL{*client}, []url.URL{*client}
	config.ListenPeerUrls, config.AdvertisePeerUrls = []url.URL{*peer}, []url.URL{*peer}
	config.InitialCluster = config.InitialClusterFromName(config.Name)
	config.UnsafeNoFsync = true
	config.LogLevel = "warn"
	server, err := embed.StartEtcd(config)
	if err != nil {
		return err
	}
	defer server.Close()
	select {
	case <-server.Server.ReadyNotify():
		fmt.Println("etcd ready")
	case <-time.After(time.Minute):
		return fmt.Errorf("etcd was not ready within a minute")
	}
	return <-server.Err()
}
