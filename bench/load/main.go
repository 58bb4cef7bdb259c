// Command load sends one request over and over on kept-alive connections and prints how
// many were answered with the wanted status. Usage: load ADDR STATUS DURATION CONNS < request
package main

import (
	"bufio"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/valyala/fasthttp"
)

func main() {
	addr := os.Args[1]
	status, _ := strconv.Atoi(os.Args[2])
	duration, err := time.ParseDuration(os.Args[3])
	if err != nil {
		log.Fatal(err)
	}
	conns, _ := strconv.Atoi(os.Args[4])
	request, err := io.ReadAll(os.Stdin)
	if err != nil {
		log.Fatal(err)
	}
	var answered atomic.Int64
	var wg sync.WaitGroup
	end := time.Now().Add(duration)
	for range conns {
		wg.Go(func() { answered.Add(ask(addr, status, request, end)) })
	}
	wg.Wait()
	fmt.Println(answered.Load())
}

// ask sends the request until the end and returns the number of answers.
func ask(addr string, status int, request []byte, end time.Time) int64 {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		log.Fatal(err)
	}
	r := bufio.NewReaderSize(conn, 64<<10)
	var resp fasthttp.Response
	var n int64
	for ; time.Now().Before(end); n++ {
		if _, err := conn.Write(request); err != nil {
			log.Fatal(err)
		}
		if err := resp.Read(r); err != nil {
			log.Fatal(err)
		}
		if resp.StatusCode() != status {
			log.Fatalf("answered %d: %s", resp.StatusCode(), resp.Body())
		}
	}
	_ = conn.Close() // else the end of the program closes it
	return n
}
