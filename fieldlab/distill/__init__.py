"""Progressive volume distillation: from any trained field to any other, without the photographs (Fang et al. 2023)."""
