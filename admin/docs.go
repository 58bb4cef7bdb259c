package admin

import (
	"github.com/danielgtaylor/huma/v2"
	"github.com/gofiber/fiber/v2"
)

const (
	apiVersion     = "1"
	apiDescription = "Change flags, tiers, limits and policies; look at teams and users."
)

func describe(*huma.OpenAPI) {}

func (a *api) serveDocs(*fiber.App) {}
