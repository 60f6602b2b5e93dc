"""Words that the pictures do not show: things without art, and words that name no thing. Only data.

Chinese has no spaces. A thing without art is listed so that its name is told whole, and is not cut where a shorter
word stands in it. English words are told one by one without a list; only names of several words stand here.
"""

UNDRAWN_ZH = """
年夜饭 雨声 医院走廊 冰雕 人踪 径 万径 石径 山径 小径 酒家 酒旗 白帝 白帝城 江陵 东吴 西岭 岭 飞流 天门 天门山 寒山寺
钟楼 鼓楼 葡萄架 金箍棒 烤串 头饰 花旦 京剧 红烧肉 礁石 礁 竹椅 竹筏 鸬鹚 天涯 故人 夜半 岸 彼岸 对岸 沙洲 汀 渡口
驿站 画舫 乌篷船 霜叶 红叶 紫烟 愁 蓑笠 蓑衣 斗笠 笠 孤烟 炊烟 霜 秋霜 露 露水 露珠 白露 风 春风 东风 西风 北风 秋风
清风 狂风 大风 微风 海风 晚风 寒风 南风 瀑布 泉 泉水 清泉 石上 桥 小桥 石桥 断桥 大桥 拱桥 木桥 廊桥 亭 亭子 凉亭 长亭
庭院 庭 院落 台阶 石阶 楼梯 栏杆 阑干 栏 帘 珠帘 窗帘 屏风 琴 古筝 琵琶 二胡 笛子 笛 玉笛 箫 洞箫 古琴 马头琴 竖琴
大提琴 口琴 手风琴 唢呐 编钟 钟声 歌 歌声 曲 乐器 乐队 音乐 音乐会 围棋 棋盘 棋 字画 书法 毛笔 砚台 墨 宣纸 扇子 折扇
团扇 蒲扇 油纸伞 香炉 香 香水 蜡梅 青铜器 青花瓷 瓷瓶 瓷 玉 玉佩 玉石 珍珠 项链 耳环 手镯 首饰 饰品 珠宝 白鹭 鹭 仙鹤
鹤 丹顶鹤 凤凰 麒麟 貔貅 鲲 鲲鹏 朱雀 玄武 白虎 青龙 萤火虫 蜻蜓 蝉 蟋蟀 蚕 蜂蜜 蜂巢 鸟巢 羽毛 尾巴 爪子 耳朵 鱼竿
鱼网 渔网 网 牡丹 牡丹花 兰花 水仙 茉莉 桂花 菊 海棠 海棠花 蔷薇 月季 百合 康乃馨 绣球花 勿忘我 紫藤 紫藤花 蒲公英
油菜花 樱花雨 花瓣 花盆 花店 叶子 树叶 落叶 枯叶 枫叶 银杏 银杏叶 银杏树 树枝 枝头 树干 树根 树桩 藤 枯藤 藤蔓 苔藓
青苔 蕨类 多肉 多肉植物 藻 海藻 水草 荷叶 莲叶 浮萍 竹叶 柳絮 柳枝 果园 果树 苹果树 桃园 茶园 葡萄园 稻草 稻草人 麦浪
田埂 篱笆 东篱 栅栏 围墙 城墙 长城 墙 砖墙 石墙 墙壁 白墙 屋顶 屋檐 瓦 瓦片 烟囱 门 木门 大门 门口 门前 柴门 窗棂 窗花
春联 对联 年画 剪纸 鞭炮 爆竹 红包 福字 舞狮 舞龙 花轿 轿子 马车 牛车 车厢 车站 火车站 地铁 地铁站 机场 码头 车轮
方向盘 轮胎 铁轨 轨道 隧道 高架桥 高速公路 立交桥 红绿灯 路灯 路牌 招牌 广告牌 霓虹招牌 灯光 灯 台灯 吊灯 烛光 烛火
火光 火把 烟 烟雾 蒸汽 热气 水汽 水珠 水花 浪花 波浪 涟漪 倒影 影子 影 剪影 光束 光环 光斑 光芒 极光 北极光 银河系
黑洞 虫洞 时空 星际 空间站 太空站 太空服 宇航服 头盔 面具 口罩 墨镜 耳机 麦克风 话筒 音箱 唱片 磁带 收音机 游戏机 手柄
鼠标 显示器 屏幕 投影仪 打印机 服务器 芯片 电路 电路板 电线 电缆 电池 充电器 无人机 试管 烧杯 实验室 仪器 机器 机械
机械臂 齿轮组 零件 螺丝 扳手 工具 工具箱 梯子 绳子 锁链 铁链 箱子 纸箱 木箱 盒子 袋子 塑料袋 纸袋 瓶 罐子 陶器 陶瓷
玻璃 玻璃瓶 玻璃杯 水杯 茶杯 茶具 茶几 柜子 衣柜 书架 书柜 架子 货架 地毯 枕头 被子 毯子 床单 毛巾 浴缸 浴室 马桶
洗手间 卫生间 镜 梳子 牙刷 肥皂 泡泡 气泡 洗衣机 冰箱 空调 风扇 电风扇 微波炉 烤箱 锅 铁锅 火锅 砂锅 蒸笼 筷子 勺子
叉子 餐具 餐盘 砧板 菜刀 调料 酱油 醋 盐 油 葱 姜 蒜 香菜 豆腐 麻婆豆腐 宫保鸡丁 小笼包 馒头 油条 豆浆 粥 粽子 汤圆
年糕 春卷 烤鸭 北京烤鸭 烧烤 烤肉 牛排 牛肉 羊肉 猪肉 鸡肉 鸡腿 炸鸡 香肠 培根 火腿 海鲜 生鱼片 奶茶 珍珠奶茶 可乐
汽水 气泡水 柠檬水 冰沙 果酱 果冻 布丁 马卡龙 提拉米苏 华夫饼 松饼 麦片 坚果 花生 瓜子 核桃 栗子 荔枝 龙眼 石榴 柿子
柚子 榴莲 山楂 冰糖葫芦 糖葫芦 棉花糖 零食 早餐 午餐 美食 食物 食材 水果 蔬菜 果篮 白菜 菠菜 黄瓜 冬瓜 苦瓜 豆角 莲藕
头发 长发 短发 卷发 刘海 辫子 双马尾 马尾辫 发簪 发饰 发带 眼睛 双眼 瞳孔 眉毛 睫毛 鼻子 嘴 嘴唇 脸 脸庞 面容 表情
笑容 泪水 眼泪 皮肤 手 双手 手指 手掌 手臂 肩膀 肩 背 背影 腿 脚 脚印 足迹 胡子 白发 皱纹 伤疤 纹身 妆容 口红 指甲 袖
衣袖 水袖 腰带 丝带 领带 围巾 手套 袜子 靴子 高跟鞋 拖鞋 草鞋 凤冠 霞帔 铠甲 战袍 披风 斗篷 面纱 头纱 头巾 草帽 贝雷帽
棒球帽 背带裤 牛仔裤 牛仔 短裤 裤子 短裙 婚纱 礼服 校服 运动服 西服 衬衣 T恤 羽绒服 皮衣 布料 丝绸 蕾丝 皮革 毛线 武器
枪 手枪 步枪 大炮 炮 坦克 战车 战舰 航母 航空母舰 潜艇 潜水艇 战斗机 导弹 炸弹 爆炸 弓 箭 长矛 矛 斧头 斧 锤 法杖 魔杖
魔法阵 魔法书 卷轴 地图集 旗 旗帜 国旗 红旗 军队 战场 战争 敌人 将军 侠客 剑客 剑仙 仙人 仙子 道士 书生 诗人 李白 杜甫
孙悟空 哪吒 嫦娥 玉兔 财神 观音 佛像 菩萨 罗汉 天使 恶魔 魔鬼 妖怪 妖精 怪物 怪兽 巨人 矮人 半人马 木乃伊 海盗 海盗船
牛仔帽 牧童 牧羊人 渔夫 渔民 樵夫 农妇 采茶女 歌女 舞姬 歌手 演员 明星 模特 主播 记者 作家 诗 学生 小学生 大学生 同学
司机 快递员 外卖员 外卖 服务员 店员 老板 上班族 程序员 工程师 科学家 律师 商人 商贩 小贩 摊贩 摊位 小吃摊 观众 人群
群众 运动员 球员 篮球运动员 足球运动员 教练 舞蹈 芭蕾 瑜伽 瑜伽垫 武术 太极 太极拳 功夫 拳击 滑雪 滑冰 冲浪 冲浪板
游泳池 泳池 泳衣 跑步机 健身房 球场 篮球场 足球场 操场 跑道 体育馆 体育场 奥运会 马拉松 舞台 剧院 电影院 演唱会 酒吧
吧台 KTV 夜店 商场 超市 商店 店铺 小店 市场 菜市场 集市 广场 天安门 东方明珠 外滩 黄鹤楼 岳阳楼 滕王阁 天坛 兵马俑
敦煌 壁画 石窟 雕塑 雕像 石像 石狮 石狮子 牌坊 四合院 吊脚楼 土楼 窑洞 蒙古包 客栈 酒楼 酒馆 茶馆 茶楼 当铺 衙门 祠堂
道观 墓 墓地 墓碑 坟墓 棺材 监狱 走廊 长廊 回廊 电梯 阳台 露台 天台 地下室 仓库 车库 工地 起重机 挖掘机 推土机 矿山
油田 电站 风力发电机 太阳能板 核电站 大坝 水库 运河 沟壑 峡谷 洞穴 山洞 溶洞 石林 火山口 岩浆 熔岩 温泉 湿地 沼泽 绿洲
沙尘暴 龙卷风 海啸 地震 洪水 流星雨 日食 月食 日晕 年轮 季节 四季 日本 中国 美国 英国 法国 巴黎 伦敦 威尼斯 罗马 埃及
金字塔 狮身人面像 印度 泰国 泰姬陵 韩国 首尔 欧洲 非洲 西藏 布达拉宫 新疆 内蒙古 云南 大理 丽江 桂林 漓江 杭州 苏州
苏州园林 江南 成都 西安 三亚 青海湖 敦煌莫高窟 扬州 姑苏 世界 地方 家 家乡 故乡 国家 城 国 村 生日 生日派对 派对 婚礼
节日 春节 元宵节 元宵 中秋 中秋节 端午 端午节 七夕 清明 重阳 国庆 万圣节 情人节 毕业典礼 毕业 假期 旅行 旅途 梦境 梦
童年 青春 爱情 友情 回忆 时间 时光 岁月 历史 文化 科技 未来感 能量 力量 灵魂 生命 自然 大自然 海报 封面 杂志 报纸 书签
邮票 明信片 名片 标志 徽标 图标 表情包 头像框 包装 包装盒 产品 商品 手办 盲盒 玩具 积木 乐高 拼图 玩偶 娃娃 洋娃娃
木偶 毛绒玩具 风铃 秋千 滑梯 跷跷板 睡袋 吊床 躺椅 长椅 遮阳伞 沙滩椅 沙堡 浮标 救生圈 船桨 船帆 船舱 甲板 锚链 泳圈
钱 钱包 硬币 金币 钞票 金条 宝箱 钥匙扣 怀表 日历 闹铃 眼罩 轮椅 拐杖 药 药片 针 注射器 听诊器 病床 文字 字 数字 字母
文章 信纸 签名 印章 印 二维码 纸 纸张 纸飞机 纸船 千纸鹤 黑板 粉笔 课桌 书包带 试卷 作业 肉 骨头 骨 血 血液 心脏 大脑
神经 细胞 病毒 基因 分子 原子 水墨晕染 留白 花纹 图案 线条 曲线 几何 几何图形 方块 圆形 三角形 立方体 球体 漩涡 螺旋
迷宫 螺旋楼梯 传送门 门后 结界 符文 符咒 咒语 法术 魔法 剑气 灵气 仙气 云梯 天梯 天宫 龙宫 仙境 桃花源 蓬莱 地狱 天堂
废土 末日 废弃工厂 机甲战士 赛博格 义体 全息投影 飞行器 飞行汽车 悬浮车 悬浮岛 浮空岛 空岛 天线 信号塔 雷达 探测器
火星车 登月舱 月球车 陨石坑 清明上河图 千里江山图 富春山居图
麻雀 燕子 燕 黄鹂 喜鹊 师傅 老师傅 馄饨 翠鸟 斑鸠 杜鹃鸟 斑马线 人行横道
"""
"""Chinese names of things for which there is no art; also of what surrounds a listed word (日本 has 日 in it)."""

UNDRAWN = """
crystal ball|lily pad|comic|card|icon|logo|poster|character|waterfall|waterfalls|hot spring|northern lights|aurora
great wall|street lamp|street light|traffic light|swimming pool|gas station|train station|subway station
vending machine|washing machine|sewing machine|typewriter|record player|rocking chair|stained glass|wind turbine
solar panel|black hole|space station|paper crane|paper boat|bus stop|phone booth|rice cooker|tea house|tea ceremony
steam engine|jet engine|engine|bonsai tree|family tree|bookshelf|spider web|bird nest|birdcage|bird cage|sand castle
sandcastle|treehouse|tree house|gingerbread house|snow globe|zebra crossing
pedestrian crossing|railway crossing|railroad crossing|level crossing|street crossing
hot dog stand|fruit stand|flower stand|food stand|market stand|lemonade stand|newspaper stand|news stand|music stand
turkey vulture|mouse pad|mouse mat|dog house|bird house|car seat|fire escape|christmas lights|fairy lights|string lights
"""
"""English names of several words, and nouns that are also the name of a way to draw."""

FILLERS_ZH = """
表面 降落 降落在 写 包着 立于 召唤 召唤出 拍打 插着 缭绕 蒙蒙 纷纷 武侠 武侠风 哥特式 哥特 晒 晒着 弹 弹奏 演奏 吹奏
喝着 吃着 品着 捧着 抱着 背着 牵着 提着 举着 握着 靠着 倚着 追着 追逐 嬉戏 散步 跳舞 唱歌 微笑 大笑 哭泣 思考 沉思
阅读 写着 工作 学习 休息 等待 拥抱 亲吻 祈祷 冥想 练习 表演 拍照 自拍 飘落 飘动 飘扬 飘 吹 吹过 吹着 下着 落在 落 挂在
挂着 挂满 放在 放着 摆着 摆满 堆满 长满 铺满 映在 映着 倒映 映照 映衬 穿过 穿梭 经过 越过 走过 走在 走进 跑过 来到
回到 出现 消失 燃烧 融化 绽放 开满 开花 结满 缠绕 环绕 围绕 包围 包裹 笼罩 弥漫 冒着 冒 散发 流淌 流过 流动 停靠 停泊
停着 驶过 驶向 驶入 飞舞 飞向 飞在 翱翔 盘旋 悬挂 悬浮 躲在 藏在 望向 眺望 仰望 俯瞰 凝视 回头 转身 戴 戴着 披着 手持
手拿 手里拿着 手中 身穿 身着 身后 身边 身旁 脚下 头上 头顶 眼前 面前 对面 正在吃 正在看 破旧 破败 废弃 废弃的 陈旧
复古 现代 现代化 传统 古典 古代 民国 欧式 中式 日式 韩式 美式 北欧 简约 豪华 奢华 华丽 朴素 优雅 高贵 神秘 诡异 恐怖
阴森 忧郁 孤独 寂寞 浪漫 甜美 清新 清晰 朦胧 模糊 柔和 柔软 强烈 鲜艳 鲜明 斑斓 五彩 五彩斑斓 五颜六色 彩色 透明
半透明 晶莹 晶莹剔透 光滑 粗糙 潮湿 干燥 繁忙 热闹 拥挤 空旷 宽阔 狭窄 深邃 遥远 宏伟 壮观 雄伟 磅礴 史诗 史诗级 新鲜
美味 可口 丰盛 热气腾腾 金灿灿 绿油油 红彤彤 白茫茫 空荡荡 圆 圆圆 弯弯 胖乎乎 胖 瘦 帅气 英俊 年老 年迈 小巧 庞大
巨型 迷你 微型 厚厚 薄薄 深深 远远 高高 长长 超现实 超现实主义 抽象 写意 工笔 工笔画 素描 版画 像素 像素风 像素画
低多边形 三维 渲染 特效 滤镜 胶片 胶片感 质感 纹理 对比 对比度 饱和度 色调 暖色调 冷色调 暖色 冷色 色彩 配色 俯视 仰视
俯拍 侧面 正面 背面 全身 半身 近景 中景 远景 广角 微距 航拍 虚化 景深 大师 杰作 最佳 高品质 专业 商业 中国风 古风 国风
国潮 日系 和风 欧美 新海诚 宫崎骏 吉卜力 皮克斯 迪士尼 梵高 莫奈 卡通风格 动画 动漫风 手绘 漫画 绘本 儿童画 简笔画
油画感 立体 平面 剪影风 逆光 侧光 顺光 柔光 自然光 打光 布光 黑白 单色 渐变 满屏 特写镜头 镜头 视角 视图 分辨率 超写实
超高 非常大 无数的 一些 一点 一片 一座 一条 一匹 一辆 一艘 一棵 一朵 一束 一杯 一碗 一盘 一本 一张 一位 一名 一群人
几个 几朵 许多 各种 各色 所有 每个 另一 另一个 其中 之上 之下 之中 之间 里边 外边 上方的 下方 底部 顶部 角落 尽头 深处
一角 两旁 两侧 两边 四周 身上 着一 时而 突然 渐渐 缓缓 悠悠 悠闲 自在 欢快 愉快 幸福 可怜 勇敢 坚强 聪明 认真 专注
疲惫 惊讶 害怕 愤怒 生气 平静 祥和 和谐 美好 奇幻 奇妙 奇异 魔幻 童话 童话般 诗意 禅意 空灵 仙气飘飘 独 独自 孤 疑
疑是 直 举 举头 低头 思 对 成 照着 不见 不觉 何处 处处 尽 入 出 归 去 来 欲 更上 千里 万里 三千
"""
"""Chinese words of doing, looking and painting, which name no thing."""

FILLERS = """
abandoned ancient antique rustic rusty dusty weathered worn broken cracked crumbling empty crowded busy bustling
lonely lone hidden secret mysterious spooky creepy scary haunted gloomy moody romantic cheerful playful joyful smiling
laughing crying curious sleepy tired elderly brave proud fierce angry gentle shy lush verdant dense thick thin narrow
wide broad deep shallow steep flat round square curved curly straight smooth rough shiny glossy matte transparent
translucent sparkling glittering shimmering steaming hot fresh ripe juicy delicious tasty sweet homemade wooden
metallic sunlit lit dimly brightly softly gently slowly quietly retro vintage modern contemporary traditional classic
classical medieval victorian gothic baroque nordic scandinavian japanese chinese korean french italian english
american european african indian dutch swiss rural urban tropical coastal alpine wild stray domestic tame enormous
massive gigantic miniature micro oversized towering sprawling winding twisting rolling flowing falling rising drifting
blowing gazing staring watching peeking hiding chasing reading writing cooking baking drinking singing dancing
painting drawing working studying waiting climbing hiking fishing surfing skating skiing cycling crossing passing
leaving entering opening closing carrying pulling pushing catching throwing kicking hugging kissing waving leaning
kneeling crouching perched parked moored anchored hanging stacked scattered piled arranged decorated painted carved
woven knitted wrapped tied blooming blossoming melting burning smoking reflected reflecting overlooking overgrown
lined framed filled topped dusted sprinkled drizzled seen viewed taken captured inspired quality aesthetic ambiance
ambience symmetrical asymmetrical centered centred isolated aerial macro fisheye panoramic panorama monochrome
grayscale sepia hdr raw dslr analog film grainy isometric pixelated low-poly lowpoly stylized stylised hand-drawn
handmade ghibli pixar disney 3d 2d rendered hyperdetailed ultra-detailed ultradetailed highly extremely incredibly
intensely slightly almost nearly early late multicolored multicoloured pale vast endless nearby various once twice
always never sometimes everywhere somewhere nowhere crisp dusky
pouring feeding rowing grazing racing open closed shut ajar locked asleep awake alone alive
afloat upright half cozy cosy snug calm still frozen wet dry soaked bare barefoot chubby slim tall
tiny fluffy furry striped spotted adorable lovely handsome elegant graceful majestic magnificent
"""
"""English words of doing, looking and painting, which name no thing."""

FILLER_PHRASES = """
unreal engine|unreal engine 5|octane render|depth of field|art station|studio ghibli|van gogh|golden ratio
rule of thirds|concept art|digital art|wide shot|full body shot|low angle|high angle|bird's eye view|point of view
soft focus|film grain|long exposure|high quality|best quality|character design|comic book style|comic style|line art
low poly|pixel art|paper cut|isometric view|product photo|product photography|black and white|high resolution
in the style of|for a while|in front of|at the end of|on the left|on the right
"""
"""English phrases of that kind, of words that are things elsewhere."""
