// Command floor is the least that a Fiber server can do for one OFREP request: it reads
// the body and answers a fixed one. What tiergate costs is told as a ratio to it.
package main

import (
	"log"
	"os"

	"github.com/gofiber/fiber/v2"
)

var answer = []byte(`{"key":"new-dashboard","reason":"STATIC","variant":"on","metadata":{"revision":"0190aaaa-12","tier":"enterprise","owner":"web"},"value":true}`)

func main() {
	app := fiber.New(fiber.Config{DisableStartupMessage: true})
	var read int
	app.Post("/*", func(c *fiber.Ctx) error {
		read += len(c.BodyRaw())
		c.Response().Header.SetContentType(fiber.MIMEApplicationJSON)
		c.Response().SetBodyRaw(answer)
		return nil
	})
	log.Fatal(app.Listen(os.Args[1]))
}
