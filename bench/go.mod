module github.com/tiergate/tiergate/bench

go 1.26.0

require (
	github.com/gofiber/fiber/v2 v2.52.15
	github.com/tiergate/tiergate v0.0.0
	github.com/valyala/fasthttp v1.78.0
)

replace github.com/tiergate/tiergate => ../
